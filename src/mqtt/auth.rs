//! AUTH.

use bytes::Bytes;

use super::EncodeError;
use super::PacketType;
use super::ProtocolVersion;
use super::ReasonCode;
use super::Text;
use super::UserProperties;
use super::Violation;
use super::encode::check_reason_code;
use super::property::PropertyReader;
use super::property::PropertySink;
use super::property::id;
use super::reader::Reader;
use super::writer::Properties;
use super::writer::Sink;
use super::writer::write_block;

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

impl Auth {
    /// Whether there is nothing but a success, which is sent without a body.
    fn is_bare(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn decode(body: &mut Reader<'_>) -> Result<Self, Violation> {
        let mut auth = Self::default();
        if body.is_empty() {
            return Ok(auth);
        }
        auth.reason_code = body.reason_code(PacketType::Auth)?;
        auth.decode_properties(&mut PropertyReader::of_packet(body)?)?;
        if auth.authentication_method.is_none() && !auth.is_bare() {
            return Err(Violation::AuthWithoutMethod);
        }
        Ok(auth)
    }

    fn decode_properties(&mut self, properties: &mut PropertyReader<'_>) -> Result<(), Violation> {
        while let Some(id) = properties.next()? {
            let value = &mut properties.value;
            match id {
                id::AUTHENTICATION_METHOD => self.authentication_method = Some(value.text()?),
                id::AUTHENTICATION_DATA => {
                    self.authentication_data = Some(Bytes::copy_from_slice(value.binary()?));
                }
                id::REASON_STRING => self.reason_string = Some(value.text()?),
                id::USER_PROPERTY => self.user_properties.push(properties.user_property()?),
                _ => return Err(Violation::PropertyNotAllowed),
            }
        }
        Ok(())
    }

    pub(super) fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NotInVersion);
        }
        if self.is_bare() {
            return Ok(());
        }
        if self.authentication_method.is_none() {
            return Err(EncodeError::MethodMissing);
        }
        check_reason_code(self.reason_code, PacketType::Auth)?;
        out.u8(self.reason_code.as_u8());
        write_block(out, self)
    }
}

impl Properties for Auth {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.text_property(id::AUTHENTICATION_METHOD, self.authentication_method.as_ref());
        out.binary_property(id::AUTHENTICATION_DATA, self.authentication_data.as_deref());
        out.text_property(id::REASON_STRING, self.reason_string.as_ref());
        out.user_properties(&self.user_properties);
    }
}
