//! AUTH.

use bytes::Bytes;

use super::ReasonCode;
use super::Text;
use super::UserProperties;

/// A step of an enhanced authentication (MQTT 5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// [`ReasonCode::Success`], [`ReasonCode::ContinueAuthentication`] or [`ReasonCode::ReAuthenticate`].
    pub reason_code: ReasonCode,
    /// The method, the same as in CONNECT; only the shortest AUTH, a bare success, has none. [MQTT-4.12.0-5]
    pub authentication_method: Option<Text>,
    /// What the method has to say.
    pub authentication_data: Option<Bytes>,
    /// The outcome in words, for diagnosis.
    pub reason_string: Option<Text>,
    /// User Properties.
    pub user_properties: UserProperties,
}

impl Auth {
    /// An AUTH of this method with nothing else that is optional.
    pub fn new(reason_code: ReasonCode, method: Text) -> Self {
        Self { reason_code, authentication_method: Some(method), ..Self::default() }
    }
}
