//! The ways of requests to a broker and of answers back.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cluster::Pending;
use super::traffic::{Done, soon};
use super::world::{Happening, World};
use crate::connection::link::LinkEvent;
use crate::protocol::messages::{NodeEndpoint, ProducePartitionResponse, ProduceResponse};
use crate::sender::scripted::{LinkKey, Sent, Wire, encode, link_closed, response_to};

impl World {
    pub(super) fn follow(&mut self, key: LinkKey, done: Done) {
        match done {
            Done::Connected { port } => {
                let span = soon(&mut self.rng);
                self.after(span, Happening::Connected(key, port));
            }
            Done::Wrote => self.expect_arrival(key),
            Done::Stalled => {
                let takes_long = self.traffic().happens(1);
                let span = match takes_long {
                    true => Duration::from_micros(self.rng.u64(..1_500_000)),
                    false => Duration::from_micros(self.rng.u64(..20_000)),
                };
                self.after(span, Happening::WriteFinished(key));
            }
            Done::Closed => {
                let span = soon(&mut self.rng);
                self.after(span, Happening::FinalEvent(key));
            }
            Done::LeftBytes(number) => {
                let span = Duration::from_micros(self.rng.u64(..300_000));
                self.after(span, Happening::Released(number));
            }
        }
    }

    fn expect_arrival(&mut self, key: LinkKey) {
        let at = self.traffic().route(key).pipe.back().map(|(at, _)| *at);
        if let Some(at) = at {
            self.at(at, Happening::Arrived(key));
        }
    }

    pub(super) fn connected(&mut self, key: LinkKey, port: u16) {
        let links = self.links();
        let link = links.get(key);
        if !link.is_open() {
            return;
        }
        let (broker, cluster_id) = (link.broker, link.target.cluster_id.clone());
        drop(links);
        let fails = self.traffic().happens(2);
        let is_stranger = cluster_id.is_some_and(|id| *id != *self.cluster.number.to_string());
        let model = self.cluster.broker(broker);
        if model.stands_until > self.now {
            let until = model.stands_until;
            return self.at(until, Happening::Connected(key, port));
        }
        if fails || is_stranger || model.is_down || model.port != port {
            return self.break_link(key);
        }
        let versions = (3, self.setup.produce_version);
        self.links().connected(key, versions);
    }

    /// Processes the link's next request as the broker, which processes one at a time.
    pub(super) fn serve(&mut self, key: LinkKey) {
        let mut traffic = self.wire.borrow_mut();
        let link = traffic.links.get(key);
        let (broker, session_ends) = (link.broker, link.session_ends);
        let route = traffic.script.route(key);
        let model = self.cluster.broker(broker);
        if route.is_served || route.pipe.front().is_none_or(|(at, _)| *at > self.now) {
            return;
        }
        if model.is_down {
            return route.pipe.clear();
        }
        if session_ends.is_some_and(|ends| ends <= self.now) {
            drop(traffic);
            return self.break_link(key);
        }
        if model.stands_until > self.now {
            let until = model.stands_until;
            drop(traffic);
            return self.at(until, Happening::Arrived(key));
        }
        let (_, sent) = route.pipe.pop_front().unwrap();
        route.is_served = true;
        drop(traffic);
        let mut callers = self.callers.borrow_mut();
        let pending = self.cluster.take(&sent, &mut callers.ledger, self.now);
        drop(callers);
        let span = self.cluster.replication();
        self.after(span, Happening::Replicated(key, sent, pending));
    }

    pub(super) fn replicated(&mut self, key: LinkKey, sent: &Sent, pending: Vec<Pending>) {
        let answers = self.cluster.answers(pending, sent.version);
        let (frame, throttle) = self.encode(key, sent, answers);
        let mut traffic = self.traffic();
        let delay = traffic.delay(key);
        let route = traffic.route(key);
        route.is_served = false;
        let at = (self.now + delay).max(route.answered);
        route.answered = at;
        drop(traffic);
        self.at(at, Happening::Answer(key, frame, throttle));
        self.serve(key);
    }

    pub(super) fn answer(&mut self, key: LinkKey, frame: Vec<u8>, throttle: Option<Duration>) {
        let Wire { links, script } = &mut *self.wire.borrow_mut();
        let link = links.get(key);
        if !link.is_open() {
            return;
        }
        script.route(key).unanswered.pop_front();
        if let Some(wait) = throttle {
            let of = (key.worker, link.broker);
            let until = script.throttled.entry(of).or_insert(self.now);
            *until = (*until).max(self.now + wait);
        }
        links.post(key, LinkEvent::Frame(frame));
    }

    /// Returns the answer's bytes, which are rarely damaged, and the throttle time that the worker will obey.
    fn encode(
        &mut self,
        key: LinkKey,
        sent: &Sent,
        partitions: Vec<ProducePartitionResponse>,
    ) -> (Vec<u8>, Option<Duration>) {
        let hinted = partitions
            .iter()
            .map(|answer| answer.current_leader.leader_id);
        let hinted: BTreeSet<i32> = hinted.filter(|id| *id > 0).collect();
        let mut traffic = self.traffic();
        let rarely = traffic.rng.u8(..8) == 0;
        let throttle_time_ms = match traffic.happens(1) {
            true => traffic.rng.i32(0..if rarely { 3000 } else { 300 }),
            false => 0,
        };
        let garbled = traffic.happens(16).then(|| traffic.rng.usize(..4));
        let route = traffic.route(key);
        route.is_garbled |= garbled.is_some();
        let link_is_garbled = route.is_garbled;
        drop(traffic);
        let endpoints = hinted.into_iter().map(|node_id| NodeEndpoint {
            node_id,
            host: format!("broker-{node_id}"),
            port: i32::from(self.cluster.broker(node_id).port),
            rack: None,
        });
        let response = ProduceResponse {
            throttle_time_ms,
            node_endpoints: endpoints.collect(),
            ..response_to(sent, partitions)
        };
        let mut frame = encode(sent, &response);
        if let Some(position) = garbled {
            frame[position] ^= 1;
        }
        // Before Produce 6 the broker itself waits. A worker ignores a damaged answer and all answers after it.
        let is_heard = sent.version >= 6 && !link_is_garbled && throttle_time_ms > 0;
        let throttle = is_heard.then(|| Duration::from_millis(throttle_time_ms as u64));
        (frame, throttle)
    }

    pub(super) fn write_finished(&mut self, key: LinkKey) {
        let cut = self.traffic().happens(2);
        if !self.links().get(key).is_writing() {
            return;
        }
        if cut {
            return self.break_link(key);
        }
        let written = self.links().finish_write(key);
        if let Some(sent) = written {
            self.traffic().travel(key, sent, self.now);
            self.expect_arrival(key);
        }
    }

    pub(super) fn break_link(&mut self, key: LinkKey) {
        let mut wire = self.wire.borrow_mut();
        let Wire { links, script } = &mut *wire;
        if !links.get(key).is_open() {
            return;
        }
        script.end(links, key);
        let done = std::mem::take(&mut script.done);
        drop(wire);
        for (key, done) in done {
            self.follow(key, done);
        }
        self.links().post(key, link_closed("the broker hung up"));
    }
}
