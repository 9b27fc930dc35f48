//! Who may connect, publish and subscribe: logins step by step, and ACL files with the answers they give.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::disallowed_methods, reason = "a test writes its own files")]

mod acl;
mod commands;
mod login;

use std::sync::Arc;

use tidelog::access::Identity;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::Text;

fn text(text: &str) -> Text {
    Text::try_from(text).unwrap()
}

/// A client; an empty user is an anonymous one.
fn identity(client_id: &str, user: &str) -> Identity {
    Identity {
        client_id: ClientId::try_from(client_id).unwrap(),
        user_name: Some(user).filter(|user| !user.is_empty()).map(text),
        certificate_name: None,
        listener: Arc::from("tcp"),
        peer: Arc::from("127.0.0.1:5"),
    }
}
