//! A message as one line of JSON, with the names that `mosquitto_sub` uses.

use bytes::BufMut;
use bytes::BytesMut;
use serde::de::IgnoredAny;

use super::NotJson;
use super::Printed;
use crate::cli::moment::Moment;
use crate::mqtt::Publish;

/// Appends the message, with its payload as a string; bytes that are not UTF-8 are replaced.
pub(super) fn print(message: Printed<'_>, now: Moment, output: &mut BytesMut) {
    let payload = &message.publish.payload;
    print_head(message, now, output);
    if payload.is_empty() {
        output.put_slice(b"null");
    } else {
        output.put_slice(string(&String::from_utf8_lossy(payload)).as_bytes());
    }
    output.put_u8(b'}');
}

/// Appends the message, with its payload as the JSON that it is, without its white space.
///
/// # Errors
/// Prints nothing and fails if the payload is not JSON.
pub(super) fn print_verbatim(
    message: Printed<'_>,
    now: Moment,
    output: &mut BytesMut,
) -> Result<(), NotJson> {
    let payload = &message.publish.payload;
    if payload.is_empty() {
        print(message, now, output);
        return Ok(());
    }
    serde_json::from_slice::<IgnoredAny>(payload).map_err(|_| NotJson)?;
    print_head(message, now, output);
    put_compact(payload, output);
    output.put_u8(b'}');
    Ok(())
}

/// Everything up to the value of the payload.
fn print_head(message: Printed<'_>, now: Moment, output: &mut BytesMut) {
    let publish = message.publish;
    let mut parts = vec![
        format!("\"tst\":\"{}\"", now.iso_micros()),
        format!("\"topic\":{}", string(message.topic)),
        format!("\"qos\":{}", publish.qos.as_u8()),
        format!("\"retain\":{}", u8::from(publish.retain)),
        format!("\"payloadlen\":{}", publish.payload.len()),
    ];
    if let Some(packet_id) = publish.packet_id {
        parts.push(format!("\"mid\":{}", packet_id.get()));
    }
    let properties = properties(publish);
    if !properties.is_empty() {
        parts.push(format!("\"properties\":{{{}}}", properties.join(",")));
    }
    output.put_slice(format!("{{{},\"payload\":", parts.join(",")).as_bytes());
}

fn properties(publish: &Publish) -> Vec<String> {
    let properties = &publish.properties;
    let mut list = Vec::new();
    if !properties.user_properties.is_empty() {
        let pairs = properties.user_properties.iter();
        let pairs: Vec<_> =
            pairs.map(|(name, value)| format!("{}:{}", string(name), string(value))).collect();
        list.push(format!("\"user-properties\":{{{}}}", pairs.join(",")));
    }
    if let Some(content_type) = &properties.content_type {
        list.push(format!("\"content-type\":{}", string(content_type)));
    }
    if let Some(data) = &properties.correlation_data {
        list.push(format!("\"correlation-data\":{}", string(&String::from_utf8_lossy(data))));
    }
    if let Some(topic) = &properties.response_topic {
        list.push(format!("\"response-topic\":{}", string(topic)));
    }
    if let Some(indicator) = properties.payload_format_indicator {
        list.push(format!("\"payload-format-indicator\":{}", u8::from(indicator)));
    }
    if let Some(interval) = properties.message_expiry_interval {
        list.push(format!("\"message-expiry-interval\":{interval}"));
    }
    if let Some(alias) = publish.topic_alias {
        list.push(format!("\"topic-alias\":{alias}"));
    }
    for id in &publish.subscription_ids {
        list.push(format!("\"subscription-identifier\":{}", id.get()));
    }
    list
}

/// `text` as a JSON string.
fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Appends `json`, which is valid, without the white space between its tokens.
fn put_compact(json: &[u8], output: &mut BytesMut) {
    let mut in_string = false;
    let mut escaped = false;
    for &byte in json {
        if in_string || !byte.is_ascii_whitespace() {
            output.put_u8(byte);
        }
        if byte == b'"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && byte == b'\\' && !escaped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_from_between_tokens_and_stays_in_strings() {
        let mut output = BytesMut::new();
        put_compact(br#" { "a b" : [ 1 , "c \" \\" , true ] } "#, &mut output);
        assert_eq!(&output[..], br#"{"a b":[1,"c \" \\",true]}"#);
    }
}
