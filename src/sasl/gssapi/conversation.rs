//! The messages of GSSAPI (RFC 4752): the client's ticket, the broker's proof, and the choice of no security layer.

use super::fault::Subject;
use super::library::{Fault, INTEGRITY, MUTUAL, SecurityContext, Step};
use crate::error::Error;
use crate::sasl::{Conversation, Message, Next, failed};

/// The longest message that is taken from a broker. The proof of a broker has less than 1000 bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// The layers that a broker can offer, as bits of the first byte of its message.
const NO_LAYER: u8 = 1;
const LAYERS: [(u8, &str); 2] = [(2, "integrity"), (4, "confidentiality")];

/// A security context of the library, or of a test.
pub(super) trait Context: Send {
    /// Takes the broker's message.
    fn step(&mut self, token: &[u8]) -> Result<Step, Fault>;
    /// Returns the contents of a protected message.
    fn unwrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault>;
    /// Protects a message against changes.
    fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault>;
}

impl Context for SecurityContext {
    fn step(&mut self, token: &[u8]) -> Result<Step, Fault> {
        SecurityContext::step(self, token)
    }

    fn unwrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        SecurityContext::unwrap(self, message)
    }

    fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        SecurityContext::wrap(self, message)
    }
}

/// The client's part in the authentication of one connection.
pub(super) struct GssConversation<C> {
    context: C,
    state: State,
    subject: Subject,
    /// Called if the broker refuses the ticket.
    on_refusal: Box<dyn Fn() + Send>,
}

enum State {
    /// The first message is not sent yet.
    First(Step),
    /// The broker and the client prove who they are.
    Establishing,
    /// The broker offers the layers that it has.
    AwaitingLayers,
    /// The broker accepts the choice.
    AwaitingEnd,
    Ended,
}

impl<C: Context> GssConversation<C> {
    /// `first` is the first step of `context`.
    pub(super) fn new(
        context: C,
        first: Step,
        subject: Subject,
        on_refusal: Box<dyn Fn() + Send>,
    ) -> Self {
        Self {
            context,
            state: State::First(first),
            subject,
            on_refusal,
        }
    }

    /// Returns the message of a step, and what the client awaits after it.
    fn message_of(&mut self, step: Step) -> Result<Message, Error> {
        if step.is_complete {
            if step.flags & MUTUAL == 0 || step.flags & INTEGRITY == 0 {
                return Err(self.error("the broker did not prove its identity"));
            }
            self.state = State::AwaitingLayers;
        } else if step.token.is_empty() {
            return Err(self.error("Kerberos has no message for the broker"));
        } else {
            self.state = State::Establishing;
        }
        Ok(Message::new(step.token))
    }

    /// Chooses to have no layer, if the broker allows that. Kafka's protocol has no place for protected messages.
    fn choose_layer(&mut self, offer: &[u8]) -> Result<Message, Error> {
        let offer = self
            .context
            .unwrap(offer)
            .map_err(|fault| self.subject.broken(&fault))?;
        let [layers, _, _, _] = offer[..] else {
            return Err(self.error(&format!(
                "the broker's offer of security layers has {} bytes instead of 4",
                offer.len()
            )));
        };
        if layers & NO_LAYER == 0 {
            return Err(self.demands_layer(layers));
        }
        // The layer, the size of messages with one, and no name to act as: Kafka's broker takes none.
        let choice = [NO_LAYER, 0, 0, 0];
        let choice = self
            .context
            .wrap(&choice)
            .map_err(|fault| self.subject.broken(&fault))?;
        self.state = State::AwaitingEnd;
        Ok(Message::new(choice))
    }

    fn demands_layer(&self, layers: u8) -> Error {
        let names = LAYERS.iter().filter(|(bit, _)| layers & bit != 0);
        let names: Vec<_> = names.map(|(_, name)| *name).collect();
        let names = match names.is_empty() {
            true => "unknown".to_owned(),
            false => names.join(", "),
        };
        self.error(&format!(
            "the broker demands a security layer of SASL ({names}), which Kafka's protocol does not have"
        ))
        .with_advice("set javax.security.sasl.qop=auth for the broker, and use SASL_SSL for encryption")
    }

    fn error(&self, message: &str) -> Error {
        failed(format!("{message} ({})", self.subject.target)).with_advice(
            "check that the peer is a Kafka broker with sasl.enabled.mechanisms=GSSAPI",
        )
    }
}

impl<C: Context> Conversation for GssConversation<C> {
    fn first(&mut self) -> Result<Message, Error> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::First(step) => self.message_of(step),
            _ => Err(self.error("GSSAPI has one first message")),
        }
    }

    fn next(&mut self, challenge: &[u8]) -> Result<Next, Error> {
        if challenge.len() > MAX_TOKEN_BYTES {
            return Err(self.error(&format!(
                "the broker's message in GSSAPI has {} bytes",
                challenge.len()
            )));
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Establishing => {
                let step = self.context.step(challenge);
                let step = step.map_err(|fault| self.subject.broken(&fault))?;
                self.message_of(step).map(Next::Send)
            }
            State::AwaitingLayers => self.choose_layer(challenge).map(Next::Send),
            // The broker's last answer says nothing more.
            State::AwaitingEnd => Ok(Next::Done),
            State::First(_) | State::Ended => {
                Err(self.error("the broker's message is one too many"))
            }
        }
    }

    fn refused(&self, explanation: Option<&str>) -> Error {
        (self.on_refusal)();
        let error = self.subject.refused();
        match explanation {
            Some(text) if !text.is_empty() => error.with_broker_message(text),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::fault::Tickets;
    use super::*;
    use crate::ErrorKind;

    /// Protects a message by a byte before it. Each step's answer is given.
    struct Scripted(Vec<Result<Step, Fault>>);

    impl Context for Scripted {
        fn step(&mut self, _: &[u8]) -> Result<Step, Fault> {
            self.0.remove(0)
        }

        fn unwrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
            match message {
                [b'#', contents @ ..] => Ok(contents.to_vec()),
                _ => Err(defective()),
            }
        }

        fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
            Ok([b"#", message].concat())
        }
    }

    fn defective() -> Fault {
        Fault {
            major: 9 << 16,
            minor: 0,
            text: "A token was invalid".to_owned(),
        }
    }

    fn continues(token: &[u8]) -> Step {
        Step {
            token: token.to_vec(),
            is_complete: false,
            flags: 0,
        }
    }

    fn ends(token: &[u8], flags: u32) -> Result<Step, Fault> {
        Ok(Step {
            token: token.to_vec(),
            is_complete: true,
            flags,
        })
    }

    fn conversation(steps: Vec<Result<Step, Fault>>) -> GssConversation<Scripted> {
        let subject = Subject {
            target: "kafka/broker.test@TEST.LOCAL".to_owned(),
            host: "broker.test".to_owned(),
            tickets: Tickets::Keytab {
                file: "/alice.keytab".to_owned(),
                principal: "alice".to_owned(),
            },
        };
        GssConversation::new(
            Scripted(steps),
            continues(b"ticket"),
            subject,
            Box::new(|| ()),
        )
    }

    const BOTH: u32 = MUTUAL | INTEGRITY;

    fn sent(next: Result<Next, Error>) -> Vec<u8> {
        match next.unwrap() {
            Next::Send(message) => message.bytes().to_vec(),
            Next::Done => panic!("done"),
        }
    }

    /// Returns a conversation that awaits the layers.
    fn established() -> GssConversation<Scripted> {
        let mut conversation = conversation(vec![ends(b"", BOTH)]);
        assert_eq!(conversation.first().unwrap().bytes(), b"ticket");
        assert_eq!(sent(conversation.next(b"proof")), b"");
        conversation
    }

    #[test]
    fn an_empty_message_follows_the_brokers_proof_and_no_layer_is_chosen() {
        let mut conversation = established();
        assert_eq!(
            sent(conversation.next(b"#\x07\x00\xff\xff")),
            b"#\x01\0\0\0"
        );
        assert!(matches!(conversation.next(b"").unwrap(), Next::Done));
        let error = conversation.next(b"").unwrap_err();
        assert!(error.to_string().contains("one too many"), "{error}");
    }

    #[test]
    fn as_many_messages_are_sent_as_the_library_needs() {
        let steps = vec![Ok(continues(b"second")), ends(b"third", BOTH)];
        let mut conversation = conversation(steps);
        conversation.first().unwrap();
        assert_eq!(sent(conversation.next(b"more")), b"second");
        assert_eq!(sent(conversation.next(b"more")), b"third");
        assert_eq!(sent(conversation.next(b"#\x01\0\0\0")), b"#\x01\0\0\0");
    }

    #[test]
    fn a_broker_without_proof_is_refused() {
        for flags in [0, MUTUAL, INTEGRITY] {
            let mut conversation = conversation(vec![ends(b"", flags)]);
            conversation.first().unwrap();
            let error = conversation.next(b"proof").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert_eq!(
                error.to_string(),
                "the broker did not prove its identity (kafka/broker.test@TEST.LOCAL); check that the peer is a Kafka broker \
                 with sasl.enabled.mechanisms=GSSAPI"
            );
        }
    }

    #[test]
    fn a_broker_that_demands_a_layer_is_refused_with_its_name() {
        for (layers, names) in [
            (2, "integrity"),
            (6, "integrity, confidentiality"),
            (8, "unknown"),
        ] {
            let error = established().next(&[b'#', layers, 0, 0, 0]).unwrap_err();
            let shown = error.to_string();
            assert!(
                shown.contains(&format!("a security layer of SASL ({names}), which"))
                    && shown.contains("qop=auth"),
                "{shown}"
            );
        }
    }

    #[test]
    fn garbage_at_each_step_is_an_error() {
        for offer in [
            &b"#"[..],
            b"#\x01\0\0",
            b"#\x01\0\0\0\0",
            b"",
            b"\x01\0\0\0",
        ] {
            let error = established().next(offer).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{offer:?}");
        }
        let mut conversation = conversation(vec![Err(defective())]);
        conversation.first().unwrap();
        let error = conversation.next(b"garbage").unwrap_err();
        assert!(
            error.to_string().contains("(A token was invalid)"),
            "{error}"
        );
        assert!(conversation.next(b"garbage").is_err() && conversation.first().is_err());
    }

    #[test]
    fn a_message_above_the_limit_does_not_reach_the_library() {
        let mut conversation = conversation(Vec::new());
        conversation.first().unwrap();
        let error = conversation
            .next(&vec![0; MAX_TOKEN_BYTES + 1])
            .unwrap_err();
        assert!(error.to_string().contains("has 65537 bytes"), "{error}");
    }

    #[test]
    fn a_step_without_a_message_is_an_error() {
        let mut conversation = conversation(vec![Ok(continues(b""))]);
        conversation.first().unwrap();
        assert!(conversation.next(b"more").is_err());
    }

    #[test]
    fn a_refusal_has_the_brokers_text_and_is_told_to_the_owner_of_the_ticket() {
        let refusals = Arc::new(AtomicUsize::new(0));
        let mut conversation = established();
        let counted = Arc::clone(&refusals);
        conversation.on_refusal = Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let error = conversation.refused(Some("invalid credentials"));
        assert_eq!(error.broker_message(), Some("invalid credentials"));
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(
            error.to_string().contains("kafka/broker.test@TEST.LOCAL"),
            "{error}"
        );
        assert_eq!(refusals.load(Ordering::Relaxed), 1);
    }
}
