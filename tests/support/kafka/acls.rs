//! Rules about who may do what in a secure cluster.

use std::io;
use std::time::Duration;

use super::admin::{Answer, Body, call, refuse};
use super::{KafkaCluster, poll};

/// A rule. Once a resource has one, only those whom a rule allows it may do something with the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    /// Such as `User:alice`.
    principal: String,
    is_allowed: bool,
    operation: Operation,
    resource: AclResource,
}

/// What a rule is about; the numbers are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Describe = 8,
    IdempotentWrite = 12,
}

/// The resource of a rule. `*` as the topic's name is every topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AclResource {
    Topic(String),
    Cluster,
}

impl Acl {
    pub(crate) fn allow(principal: &str, operation: Operation, resource: AclResource) -> Acl {
        Acl {
            principal: principal.to_owned(),
            is_allowed: true,
            operation,
            resource,
        }
    }

    pub(crate) fn deny(principal: &str, operation: Operation, resource: AclResource) -> Acl {
        Acl {
            is_allowed: false,
            ..Acl::allow(principal, operation, resource)
        }
    }

    /// The fields of a rule, or of a filter for it: the two have the same form in version 1.
    fn write(&self, body: &mut Body) {
        const LITERAL: i8 = 3;
        let (kind, name) = match &self.resource {
            AclResource::Topic(name) => (2, name.as_str()),
            AclResource::Cluster => (4, "kafka-cluster"),
        };
        body.i8(kind);
        body.string(name);
        body.i8(LITERAL);
        body.string(&self.principal);
        body.string("*");
        body.i8(self.operation as i8);
        body.i8(if self.is_allowed { 3 } else { 2 });
    }
}

impl AclResource {
    pub(crate) fn topic(name: &str) -> AclResource {
        AclResource::Topic(name.to_owned())
    }
}

impl KafkaCluster {
    /// Creates a rule and waits until every broker knows it.
    pub(crate) fn add_acl(&self, acl: &Acl) {
        self.ask(|port| create(port, acl));
        self.wait_for_acl(acl, true);
    }

    /// Deletes a rule and waits until no broker knows it.
    pub(crate) fn remove_acl(&self, acl: &Acl) {
        self.ask(|port| delete(port, acl));
        self.wait_for_acl(acl, false);
    }

    fn wait_for_acl(&self, acl: &Acl, expected: bool) {
        let done = poll(Duration::from_secs(30), || {
            self.running()
                .all(|broker| exists(broker.port(), acl).is_ok_and(|found| found == expected))
                .then_some(())
        });
        assert!(done.is_some(), "timed out waiting for {acl:?}: {expected}");
    }
}

const DESCRIBE_ACLS: i16 = 29;
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;

fn create(port: u16, acl: &Acl) -> io::Result<()> {
    let mut body = Body::default();
    body.array(&[acl], |body, acl| acl.write(body));
    let mut answer = call(port, CREATE_ACLS, 1, body)?;
    answer.i32()?;
    answer.array(refused)?;
    Ok(())
}

fn delete(port: u16, acl: &Acl) -> io::Result<()> {
    let mut body = Body::default();
    body.array(&[acl], |body, acl| acl.write(body));
    let mut answer = call(port, DELETE_ACLS, 1, body)?;
    answer.i32()?;
    // The rules that were deleted follow each result; there is one filter, so nobody reads on.
    answer.i32()?;
    refused(&mut answer)
}

fn exists(port: u16, acl: &Acl) -> io::Result<bool> {
    let mut body = Body::default();
    acl.write(&mut body);
    let mut answer = call(port, DESCRIBE_ACLS, 1, body)?;
    answer.i32()?;
    refused(&mut answer)?;
    Ok(answer.i32()? > 0)
}

fn refused(answer: &mut Answer) -> io::Result<()> {
    let code = answer.i16()?;
    let message = answer.string()?;
    refuse("rules", "of access", code, message)
}
