//! [`Violation`]: every way in which a peer can break the protocol, each with its statement and reason code.
//!
//! This is the only list. The codec finds most of them; those that need the state of a session are found by the
//! session, and stand here all the same. Each ends the connection. [MQTT-4.13.1-1] `[3.1.1 MQTT-4.8.0-1]`
//!
//! A statement id is version 5's; a rule that only 3.1.1 numbers says so, and a rule that has no number names its section.

use std::fmt;

use super::ProtocolVersion;
use super::ReasonCode;

/// Makes the enum and its tables from one list: name, reason code, statement, sentence.
macro_rules! violations {
    ($($name:ident: $code:ident, $statement:literal, $text:literal;)*) => {
        /// What a peer did that the protocol forbids.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Violation {
            $(#[doc = concat!("The peer's fault: ", $text, ". [", $statement, "]")] $name,)*
        }

        impl Violation {
            /// Every violation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The id of the statement that is broken, or the section for a rule without a number.
            pub const fn statement(self) -> &'static str {
                match self {
                    $(Self::$name => $statement,)*
                }
            }

            /// What CONNACK or DISCONNECT tells a version 5 peer.
            pub const fn reason_code(self) -> ReasonCode {
                match self {
                    $(Self::$name => ReasonCode::$code,)*
                }
            }

            /// What is wrong, as the part of a sentence.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

violations! {
    PacketTypeInvalid: MalformedPacket, "section 2.1.2", "packet type is reserved or unknown to this version";
    FlagsInvalid: MalformedPacket, "MQTT-2.1.3-1", "fixed header has reserved flags set";
    VariableByteIntegerTooLong: MalformedPacket, "section 1.5.5", "variable byte integer has more than four bytes";
    VariableByteIntegerNotMinimal: MalformedPacket, "MQTT-1.5.5-1", "variable byte integer is longer than needed";
    PacketTooLarge: PacketTooLarge, "MQTT-3.2.2-15", "packet is larger than allowed";
    Truncated: MalformedPacket, "section 2.1.4", "field runs past the end of the packet";
    TrailingBytes: MalformedPacket, "section 2.1.4", "packet goes on after its last field";
    TextNotUtf8: MalformedPacket, "MQTT-1.5.4-1", "string is not UTF-8";
    TextWithNul: MalformedPacket, "MQTT-1.5.4-2", "string has a U+0000";
    TextTooLong: MalformedPacket, "MQTT-4.7.3-3", "string has more than 65,535 bytes";
    PacketIdZero: MalformedPacket, "MQTT-2.2.1-3", "packet identifier is zero";
    QosInvalid: MalformedPacket, "MQTT-3.3.1-4", "QoS is not 0, 1 or 2";
    DupWithQos0: MalformedPacket, "MQTT-3.3.1-2", "DUP is set on a QoS 0 message";
    ReasonCodeInvalid: MalformedPacket, "section 2.4", "reason code is not one of this packet's";
    PacketFromWrongSide: ProtocolError, "section 2.1.2", "packet type goes only the other way";

    TopicNameEmpty: MalformedPacket, "MQTT-4.7.3-1", "topic name is empty";
    TopicNameWildcard: MalformedPacket, "MQTT-3.3.2-2", "topic name has a wildcard";
    TopicFilterEmpty: MalformedPacket, "MQTT-4.7.3-1", "topic filter is empty";
    MultiLevelWildcardMisplaced: MalformedPacket, "MQTT-4.7.1-1", "# is not alone in the last level of the topic filter";
    SingleLevelWildcardMisplaced: MalformedPacket, "MQTT-4.7.1-2", "+ does not fill a level of the topic filter";
    ShareNameEmpty: MalformedPacket, "MQTT-4.8.2-1", "share name is empty";
    ShareNameInvalid: MalformedPacket, "MQTT-4.8.2-2", "share name has a wildcard";
    SharedFilterMissing: MalformedPacket, "MQTT-4.8.2-2", "share name is not followed by a topic filter";

    PropertyLengthMissing: MalformedPacket, "MQTT-2.2.2-1", "property length is missing";
    PropertyOverrun: MalformedPacket, "section 2.2.2.1", "property runs past the property length";
    PropertyNotAllowed: MalformedPacket, "section 2.2.2.2", "property is unknown or not for this packet";
    PropertyTwice: ProtocolError, "section 2.2.2.2", "property that may stand once stands twice";
    PropertyNotBoolean: ProtocolError, "section 2.2.2.2", "property is neither 0 nor 1";
    PropertyZero: ProtocolError, "section 2.2.2.2", "property is zero and must not be";

    ConnectMissing: ProtocolError, "MQTT-3.1.0-1", "first packet is not CONNECT";
    ConnectTwice: ProtocolError, "MQTT-3.1.0-2", "second CONNECT on one connection";
    ProtocolNameInvalid: UnsupportedProtocolVersion, "MQTT-3.1.2-1", "protocol name is not MQTT";
    ProtocolLevelTooLow: UnsupportedProtocolVersion, "MQTT-3.1.2-2", "protocol level is below those supported";
    ProtocolLevelTooHigh: UnsupportedProtocolVersion, "MQTT-3.1.2-2", "protocol level is above those supported";
    ConnectFlagReserved: MalformedPacket, "MQTT-3.1.2-3", "reserved connect flag is set";
    WillQosInvalid: MalformedPacket, "MQTT-3.1.2-12", "will QoS is not 0, 1 or 2";
    WillQosWithoutWill: MalformedPacket, "MQTT-3.1.2-11", "will QoS is set without a will";
    WillRetainWithoutWill: MalformedPacket, "MQTT-3.1.2-13", "will retain is set without a will";
    PasswordWithoutUserName: MalformedPacket, "3.1.1 MQTT-3.1.2-22", "password comes without a user name";
    ClientIdEmpty: ClientIdentifierNotValid, "3.1.1 MQTT-3.1.3-8", "client identifier is empty";
    AuthenticationDataWithoutMethod: ProtocolError, "section 3.1.2.11.10", "authentication data comes without a method";
    ConnackFlagsInvalid: MalformedPacket, "MQTT-3.2.2-1", "reserved CONNACK flags are set";
    SessionPresentWithError: ProtocolError, "MQTT-3.2.2-6", "session present is set in a refusal";

    TopicAliasWithoutTopic: ProtocolError, "section 3.3.4", "topic alias stands for no topic yet";
    TopicAliasTooHigh: TopicAliasInvalid, "MQTT-3.3.2-9", "topic alias is above the maximum";
    TopicAliasZero: TopicAliasInvalid, "MQTT-3.3.2-8", "topic alias is zero";
    TopicMissing: ProtocolError, "section 3.3.2.1", "PUBLISH has neither a topic nor a topic alias";
    ResponseTopicInvalid: ProtocolError, "MQTT-3.3.2-14", "response topic is empty or has a wildcard";
    SubscriptionIdInvalid: ProtocolError, "section 3.8.2.1.2", "subscription identifier is zero";
    SubscriptionIdFromClient: ProtocolError, "MQTT-3.3.4-6", "client's PUBLISH has a subscription identifier";
    ReceiveMaximumExceeded: ReceiveMaximumExceeded, "MQTT-3.3.4-7", "more messages in flight than the receive maximum";
    QosNotSupported: QosNotSupported, "MQTT-3.2.2-11", "QoS is above the maximum";
    RetainNotSupported: RetainNotSupported, "MQTT-3.2.2-14", "retained messages are not available";

    FiltersMissing: ProtocolError, "MQTT-3.8.3-2", "SUBSCRIBE has no topic filter";
    UnsubscribeFiltersMissing: ProtocolError, "MQTT-3.10.3-2", "UNSUBSCRIBE has no topic filter";
    SubscriptionOptionsReserved: MalformedPacket, "MQTT-3.8.3-5", "reserved subscription options are set";
    SubscriptionQosInvalid: MalformedPacket, "section 3.8.3.1", "requested QoS is not 0, 1 or 2";
    RetainHandlingInvalid: ProtocolError, "section 3.8.3.1", "retain handling is not 0, 1 or 2";
    NoLocalOnShared: ProtocolError, "MQTT-3.8.3-4", "no local is set on a shared subscription";
    SubscriptionIdsNotSupported: SubscriptionIdentifiersNotSupported, "section 3.2.2.3.12",
        "subscription identifiers are not available";
    ReasonCodesMissing: MalformedPacket, "MQTT-3.8.4-6", "acknowledgement has no reason codes";

    SessionExpiryRaisedFromZero: ProtocolError, "section 3.14.2.2.2",
        "DISCONNECT sets a session expiry interval that CONNECT had as zero";
    SessionExpiryFromServer: ProtocolError, "MQTT-3.14.2-2", "server's DISCONNECT has a session expiry interval";
    AuthWithoutMethod: ProtocolError, "section 3.15.2.2.2", "AUTH has no authentication method";
    AuthUnexpected: ProtocolError, "MQTT-4.12.0-7", "AUTH comes without an authentication method in CONNECT";
    AuthMethodChanged: ProtocolError, "MQTT-4.12.1-1", "authentication method differs from CONNECT's";
    PacketDuringAuthentication: ProtocolError, "MQTT-3.1.2-30", "packet other than AUTH before the authentication is over";
    AcknowledgementUnexpected: ProtocolError, "section 4.3", "acknowledgement is not the one that comes next";
    KeepAliveTimeout: KeepAliveTimeout, "MQTT-3.1.2-22", "nothing received within one and a half times the keep alive";
}

impl Violation {
    /// In which version's form a refusing CONNACK may go out before a version is agreed on, with 0x01 or 0x84.
    ///
    /// `None` for all but an unsupported protocol level. [MQTT-3.1.2-2] `[3.1.1 MQTT-3.1.2-2]`
    pub const fn connack_version(self) -> Option<ProtocolVersion> {
        if matches!(self, Self::ProtocolLevelTooLow) {
            Some(ProtocolVersion::V3_1_1)
        } else if matches!(self, Self::ProtocolLevelTooHigh) {
            Some(ProtocolVersion::V5)
        } else {
            None
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.text(), self.statement())
    }
}

impl std::error::Error for Violation {}
