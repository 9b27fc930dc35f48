//! [`ReasonCode`]: every code of MQTT 5, in which packets each may stand, and what it becomes for older clients.

use std::fmt;

use super::PacketType;
use super::QoS;

/// Makes the enum, its conversion from a byte and its names from one table.
macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The outcome of an operation; 0x80 and above are failures.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* #[doc = concat!($text, ".")] $name = $code,)*
        }

        impl ReasonCode {
            /// Every code, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code of this number, if the standard has one.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    #[default]
    Success = 0x00, "Success, normal disconnection or granted QoS 0";
    GrantedQos1 = 0x01, "Granted QoS 1";
    GrantedQos2 = 0x02, "Granted QoS 2";
    DisconnectWithWill = 0x04, "Disconnect with Will Message";
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    NoSubscriptionExisted = 0x11, "No subscription existed";
    ContinueAuthentication = 0x18, "Continue authentication";
    ReAuthenticate = 0x19, "Re-authenticate";
    UnspecifiedError = 0x80, "Unspecified error";
    MalformedPacket = 0x81, "Malformed Packet";
    ProtocolError = 0x82, "Protocol Error";
    ImplementationSpecificError = 0x83, "Implementation specific error";
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid";
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    NotAuthorized = 0x87, "Not authorized";
    ServerUnavailable = 0x88, "Server unavailable";
    ServerBusy = 0x89, "Server busy";
    Banned = 0x8A, "Banned";
    ServerShuttingDown = 0x8B, "Server shutting down";
    BadAuthenticationMethod = 0x8C, "Bad authentication method";
    KeepAliveTimeout = 0x8D, "Keep Alive timeout";
    SessionTakenOver = 0x8E, "Session taken over";
    TopicFilterInvalid = 0x8F, "Topic Filter invalid";
    TopicNameInvalid = 0x90, "Topic Name invalid";
    PacketIdentifierInUse = 0x91, "Packet Identifier in use";
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found";
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    PacketTooLarge = 0x95, "Packet too large";
    MessageRateTooHigh = 0x96, "Message rate too high";
    QuotaExceeded = 0x97, "Quota exceeded";
    AdministrativeAction = 0x98, "Administrative action";
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    RetainNotSupported = 0x9A, "Retain not supported";
    QosNotSupported = 0x9B, "QoS not supported";
    UseAnotherServer = 0x9C, "Use another server";
    ServerMoved = 0x9D, "Server moved";
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported";
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded";
    MaximumConnectTime = 0xA0, "Maximum connect time";
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported";
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported";
}

impl ReasonCode {
    /// The code of an ordinary DISCONNECT; the same number as [`ReasonCode::Success`].
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// SUBACK's code for QoS 0; the same number as [`ReasonCode::Success`].
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether the code is a failure: 0x80 or above.
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// SUBACK's code for a granted QoS.
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::GRANTED_QOS_0,
            QoS::AtLeastOnce => Self::GrantedQos1,
            QoS::ExactlyOnce => Self::GrantedQos2,
        }
    }

    /// The QoS that SUBACK grants with this code.
    pub const fn granted_qos(self) -> Option<QoS> {
        match self.as_u8() {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }

    /// Whether the code may stand in a packet of this type.
    ///
    /// [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] [MQTT-3.11.3-2]
    /// [MQTT-3.14.2-1] [MQTT-3.15.2-1]
    pub const fn is_allowed_in(self, packet: PacketType) -> bool {
        let code = self.as_u8();
        match packet {
            PacketType::Connack => {
                matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            PacketType::Puback | PacketType::Pubrec => {
                matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::Pubrel | PacketType::Pubcomp => matches!(code, 0x00 | 0x92),
            PacketType::Suback => {
                matches!(
                    code,
                    0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
                )
            }
            PacketType::Unsuback => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            PacketType::Disconnect => {
                matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2)
            }
            PacketType::Auth => matches!(code, 0x00 | 0x18 | 0x19),
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Pingreq
            | PacketType::Pingresp => false,
        }
    }

    /// The return code that CONNACK carries before MQTT 5, 0 to 5.
    ///
    /// `None` if nothing fits: the connection is then closed without CONNACK. `[3.1.1 MQTT-3.2.2-6]`
    pub const fn connack_return_code(self) -> Option<u8> {
        match self.as_u8() {
            0x00 => Some(0),
            0x84 => Some(1),
            0x85 => Some(2),
            0x80 | 0x83 | 0x88 | 0x89 | 0x8B | 0x97 | 0x9C | 0x9D | 0x9F => Some(3),
            0x86 => Some(4),
            0x87 | 0x8A | 0x8C => Some(5),
            _ => None,
        }
    }

    /// What a CONNACK return code before MQTT 5 means; `None` above 5.
    pub const fn from_connack_return_code(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The return code that SUBACK carries before MQTT 5: the granted QoS, or 0x80. `[3.1.1 MQTT-3.9.3-2]`
    ///
    /// MQTT 3.1 has no failure in SUBACK; such a client gets 0x80 all the same, because every other answer
    /// would claim a subscription that does not exist.
    pub const fn suback_return_code(self) -> u8 {
        match self.granted_qos() {
            Some(qos) => qos.as_u8(),
            None => 0x80,
        }
    }
}

impl From<ReasonCode> for u8 {
    fn from(code: ReasonCode) -> Self {
        code.as_u8()
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.text(), self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed_in(packet: PacketType) -> Vec<u8> {
        ReasonCode::ALL
            .iter()
            .filter(|code| code.is_allowed_in(packet))
            .map(|code| code.as_u8())
            .collect()
    }

    #[test]
    fn every_packet_has_the_codes_of_its_table() {
        assert_eq!(
            allowed_in(PacketType::Connack),
            [
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
                0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F
            ]
        );
        for packet in [PacketType::Puback, PacketType::Pubrec] {
            assert_eq!(allowed_in(packet), [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
        }
        for packet in [PacketType::Pubrel, PacketType::Pubcomp] {
            assert_eq!(allowed_in(packet), [0x00, 0x92]);
        }
        let suback = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
        assert_eq!(allowed_in(PacketType::Suback), suback);
        assert_eq!(allowed_in(PacketType::Unsuback), [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]);
        // Section 3.14 lists all but 0x8C, which section 2.4 gives to DISCONNECT too.
        assert_eq!(
            allowed_in(PacketType::Disconnect),
            [
                0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90,
                0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0,
                0xA1, 0xA2
            ]
        );
        assert_eq!(allowed_in(PacketType::Auth), [0x00, 0x18, 0x19]);
        assert!(allowed_in(PacketType::Publish).is_empty());
    }

    #[test]
    fn numbers_are_codes_and_back() {
        let known: Vec<u8> =
            (0..=u8::MAX).filter(|number| ReasonCode::from_u8(*number).is_some()).collect();
        let all: Vec<u8> = ReasonCode::ALL.iter().map(|code| code.as_u8()).collect();
        assert_eq!(known, all);
        assert_eq!(all.len(), 43);
    }

    #[test]
    fn return_codes_before_5_survive_the_way_through() {
        for number in 0..=5 {
            let code = ReasonCode::from_connack_return_code(number).unwrap();
            assert_eq!(code.connack_return_code(), Some(number));
        }
        assert_eq!(ReasonCode::from_connack_return_code(6), None);
        assert_eq!(ReasonCode::ProtocolError.connack_return_code(), None);
    }

    #[test]
    fn granted_qos_survives_the_way_through() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            assert_eq!(ReasonCode::granted(qos).granted_qos(), Some(qos));
        }
        assert_eq!(ReasonCode::DisconnectWithWill.granted_qos(), None);
    }
}
