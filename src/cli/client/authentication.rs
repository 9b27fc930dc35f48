//! The client's side of enhanced authentication: SCRAM-SHA-256, or a method that is over with its first data.

use bytes::Bytes;

use super::ClientError;
use super::Options;
use crate::access::scram;
use crate::access::scram::ScramError;
use crate::mqtt::Auth;
use crate::mqtt::Connack;
use crate::mqtt::Connect;
use crate::mqtt::Packet;
use crate::mqtt::ReasonCode;
use crate::mqtt::Text;

/// How far the login has come.
pub(super) enum Authentication {
    /// There is none, or it has only one step.
    None,
    /// SCRAM: the client-first message was sent.
    Begun(scram::Client),
    /// SCRAM: the client-final message was sent.
    Answered(scram::Client),
}

impl Authentication {
    /// Puts the first step into `connect`, if a login is asked for. The password then stays out of it.
    ///
    /// # Errors
    /// Fails if there are no random numbers, or no user name and password.
    pub(super) fn begin(options: &Options, connect: &mut Connect) -> Result<Self, ClientError> {
        if !options.scram {
            return Ok(Self::None);
        }
        let (Some(user), Some(password)) = (connect.user_name.take(), connect.password.take())
        else {
            return Err(ClientError::NoCredentials);
        };
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce).map_err(|_| ClientError::NoRandom)?;
        let (client, first) = scram::Client::begin(&user, &password, &nonce);
        connect.authentication_method = Some(Text::from_static(scram::METHOD));
        connect.authentication_data = Some(first.into());
        Ok(Self::Begun(client))
    }

    /// Answers a step of the broker's.
    ///
    /// # Errors
    /// Fails if the step is not expected or wrong.
    pub(super) fn answer(&mut self, auth: &Auth) -> Result<Packet, ClientError> {
        let data = auth.authentication_data.as_deref().unwrap_or_default();
        match std::mem::replace(self, Self::None) {
            Self::Begun(mut client) if auth.reason_code == ReasonCode::ContinueAuthentication => {
                let answer = client.respond(data)?;
                *self = Self::Answered(client);
                Ok(Packet::Auth(Box::new(Auth {
                    reason_code: ReasonCode::ContinueAuthentication,
                    authentication_method: Some(Text::from_static(scram::METHOD)),
                    authentication_data: Some(Bytes::from(answer)),
                    ..Auth::default()
                })))
            }
            Self::Begun(_) | Self::Answered(_) | Self::None => {
                Err(ClientError::unexpected(&Packet::Auth(Box::new(auth.clone()))))
            }
        }
    }

    /// Checks what comes with the CONNACK: whether the broker knows the password too.
    ///
    /// # Errors
    /// Fails if it does not, or if it let us in before the login was over.
    pub(super) fn finish(self, connack: &Connack) -> Result<(), ClientError> {
        let data = connack.authentication_data.as_deref().unwrap_or_default();
        match self {
            Self::None => Ok(()),
            Self::Begun(_) => Err(ScramError::WrongSignature.into()),
            Self::Answered(client) => Ok(client.finish(data)?),
        }
    }
}
