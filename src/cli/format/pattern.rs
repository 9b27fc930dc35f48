//! The format string of `-F`, taken apart once.

use std::iter::Peekable;
use std::str::Chars;

use bytes::BufMut;
use bytes::BytesMut;

use super::NotJson;
use super::Printed;
use super::json;
use crate::cli::moment::Moment;
use crate::mqtt::PacketId;
use crate::mqtt::Publish;

/// The widest field, in characters.
const WIDTH_MAX: usize = 10_000;

/// What is wrong with a format string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    /// A sequence that nobody knows.
    #[error("the format has an unknown sequence '{0}'")]
    Unknown(String),
    /// The string ends within a sequence.
    #[error("the format ends within a sequence")]
    Unfinished,
    /// A width above [`WIDTH_MAX`].
    #[error("the format has a width above {WIDTH_MAX}")]
    TooWide,
}

/// A format string, ready to print messages.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(char),
    Field(Field, Width),
    Time(char),
    Json { payload_as_text: bool },
}

#[derive(Clone, Copy, Debug)]
enum Field {
    TopicAlias,
    ContentType,
    CorrelationData,
    MessageExpiry,
    PayloadFormat,
    IsoTime,
    Length,
    PacketId,
    UserProperties,
    Payload,
    QoS,
    ResponseTopic,
    Retain,
    SubscriptionIds,
    Topic,
    UnixTime,
    HexLower,
    HexUpper,
}

/// How wide a field is printed.
#[derive(Clone, Copy, Debug, Default)]
struct Width {
    minimum: usize,
    maximum: Option<usize>,
    zeroes: bool,
    left: bool,
}

impl Pattern {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// Fails for a sequence that is unknown or cut off.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut characters = text.chars().peekable();
        let mut pieces = Vec::new();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '%' => parameter(&mut characters)?,
                '@' => time(&mut characters)?,
                '\\' => escape(&mut characters)?,
                other => Piece::Literal(other),
            });
        }
        Ok(Self { pieces })
    }

    /// Appends the message to `output`, printed at `now`.
    ///
    /// # Errors
    /// Fails if a payload has to be JSON and is not; the rest was printed.
    pub(crate) fn print(
        &self,
        message: Printed<'_>,
        now: Moment,
        output: &mut BytesMut,
    ) -> Result<(), NotJson> {
        let mut printed = Ok(());
        for piece in &self.pieces {
            match piece {
                Piece::Literal(character) => {
                    output.put_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Piece::Field(field, width) => width.put(&field.value(message, now), output),
                Piece::Time(conversion) => {
                    output.put_slice(now.strftime(*conversion).unwrap_or_default().as_bytes());
                }
                Piece::Json { payload_as_text: true } => json::print(message, now, output),
                Piece::Json { payload_as_text: false } => {
                    printed = printed.and(json::print_verbatim(message, now, output));
                }
            }
        }
        printed
    }
}

/// What follows a `%`.
fn parameter(characters: &mut Peekable<Chars<'_>>) -> Result<Piece, PatternError> {
    let width = Width::parse(characters)?;
    let field = match characters.next().ok_or(PatternError::Unfinished)? {
        '%' => return Ok(Piece::Literal('%')),
        'j' => return Ok(Piece::Json { payload_as_text: true }),
        'J' => return Ok(Piece::Json { payload_as_text: false }),
        'A' => Field::TopicAlias,
        'C' => Field::ContentType,
        'D' => Field::CorrelationData,
        'E' => Field::MessageExpiry,
        'F' => Field::PayloadFormat,
        'I' => Field::IsoTime,
        'l' => Field::Length,
        'm' => Field::PacketId,
        'P' => Field::UserProperties,
        'p' => Field::Payload,
        'q' => Field::QoS,
        'R' => Field::ResponseTopic,
        'r' => Field::Retain,
        'S' => Field::SubscriptionIds,
        't' => Field::Topic,
        'U' => Field::UnixTime,
        'x' => Field::HexLower,
        'X' => Field::HexUpper,
        other => return Err(PatternError::Unknown(format!("%{other}"))),
    };
    Ok(Piece::Field(field, width))
}

/// What follows an `@`.
fn time(characters: &mut Peekable<Chars<'_>>) -> Result<Piece, PatternError> {
    match characters.next().ok_or(PatternError::Unfinished)? {
        '@' => Ok(Piece::Literal('@')),
        known if Moment::now().strftime(known).is_some() => Ok(Piece::Time(known)),
        other => Err(PatternError::Unknown(format!("@{other}"))),
    }
}

/// What follows a backslash.
fn escape(characters: &mut Peekable<Chars<'_>>) -> Result<Piece, PatternError> {
    Ok(Piece::Literal(match characters.next().ok_or(PatternError::Unfinished)? {
        '\\' => '\\',
        '0' => '\0',
        'a' => '\x07',
        'e' => '\x1b',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        other => return Err(PatternError::Unknown(format!("\\{other}"))),
    }))
}

impl Width {
    fn parse(characters: &mut Peekable<Chars<'_>>) -> Result<Self, PatternError> {
        let mut width = Self::default();
        while let Some(flag) = characters.next_if(|character| matches!(character, '0' | '-')) {
            width.zeroes |= flag == '0';
            width.left |= flag == '-';
        }
        width.minimum = number(characters)?.unwrap_or(0);
        if characters.next_if_eq(&'.').is_some() {
            width.maximum = Some(number(characters)?.unwrap_or(0));
        }
        Ok(width)
    }

    /// Appends `value` in this width; the greatest width cuts at a character.
    fn put(self, value: &[u8], output: &mut BytesMut) {
        let value = match (self.maximum, std::str::from_utf8(value)) {
            (Some(maximum), Ok(text)) => {
                let end = text.char_indices().nth(maximum).map_or(value.len(), |(end, _)| end);
                value.get(..end).unwrap_or(value)
            }
            (Some(maximum), Err(_)) => value.get(..maximum).unwrap_or(value),
            (None, _) => value,
        };
        let length = std::str::from_utf8(value).map_or(value.len(), |text| text.chars().count());
        let missing = self.minimum.saturating_sub(length);
        if self.left {
            output.put_slice(value);
            output.put_bytes(b' ', missing);
        } else {
            output.put_bytes(if self.zeroes { b'0' } else { b' ' }, missing);
            output.put_slice(value);
        }
    }
}

fn number(characters: &mut Peekable<Chars<'_>>) -> Result<Option<usize>, PatternError> {
    let mut number = None;
    while let Some(digit) = characters.peek().and_then(|character| character.to_digit(10)) {
        characters.next();
        let digit = usize::try_from(digit).unwrap_or(0);
        number = Some(number.unwrap_or(0) * 10 + digit);
        if number > Some(WIDTH_MAX) {
            return Err(PatternError::TooWide);
        }
    }
    Ok(number)
}

impl Field {
    fn value(self, message: Printed<'_>, now: Moment) -> Vec<u8> {
        let publish = message.publish;
        let properties = &publish.properties;
        match self {
            Self::TopicAlias => number_text(publish.topic_alias),
            Self::ContentType => properties.content_type.as_deref().unwrap_or_default().into(),
            Self::CorrelationData => {
                properties.correlation_data.as_deref().unwrap_or_default().into()
            }
            Self::MessageExpiry => number_text(properties.message_expiry_interval),
            Self::PayloadFormat => number_text(properties.payload_format_indicator.map(u8::from)),
            Self::IsoTime => now.iso().into(),
            Self::Length => publish.payload.len().to_string().into(),
            Self::PacketId => publish.packet_id.map_or(0, PacketId::get).to_string().into(),
            Self::UserProperties => user_properties(publish).into(),
            Self::Payload => publish.payload.to_vec(),
            Self::QoS => publish.qos.as_u8().to_string().into(),
            Self::ResponseTopic => properties.response_topic.as_deref().unwrap_or_default().into(),
            Self::Retain => u8::from(publish.retain).to_string().into(),
            Self::SubscriptionIds => subscription_ids(publish).into(),
            Self::Topic => message.topic.into(),
            Self::UnixTime => now.unix().into(),
            Self::HexLower => hexadecimal(&publish.payload).into(),
            Self::HexUpper => hexadecimal(&publish.payload).to_uppercase().into(),
        }
    }
}

fn number_text(number: Option<impl ToString>) -> Vec<u8> {
    number.map(|number| number.to_string()).unwrap_or_default().into()
}

fn user_properties(publish: &Publish) -> String {
    let pairs = publish.properties.user_properties.iter();
    pairs.map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(" ")
}

fn subscription_ids(publish: &Publish) -> String {
    let ids = publish.subscription_ids.iter();
    ids.map(|id| id.get().to_string()).collect::<Vec<_>>().join(" ")
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}
