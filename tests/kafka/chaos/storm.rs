//! Applies the script's faults to the cluster, one at a time, and keeps their times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::clock::{Clock, pass, seconds};
use super::script::{Fault, Script, Step, Target};
use super::{LOAD_TOPICS, TOPICS, YARDSTICK_PARTITIONS, YARDSTICK_TOPICS};
use crate::support::kafka::{KafkaCluster, Proxy, Weather};

/// A fault as it happened.
pub(super) struct Event {
    pub(super) what: String,
    kind: &'static str,
    pub(super) began_ms: u32,
    pub(super) over_ms: u32,
    pub(super) healthy_ms: u32,
}

/// Plays the script for the given time. A fault that has begun continues to its end.
pub(super) fn play(
    kafka: &KafkaCluster,
    clock: Clock,
    script: Script,
    during: Duration,
) -> Vec<Event> {
    let until = Instant::now() + during;
    let mut events = Vec::new();
    for step in script {
        if Instant::now() >= until {
            break;
        }
        let event = happen(kafka, clock, &step);
        println!("chaos: {}", event.describe());
        events.push(event);
        pass(step.quiet);
    }
    events
}

/// The number of faults of each kind, as text.
pub(super) fn counts(events: &[Event]) -> String {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event.kind).or_insert(0) += 1;
    }
    let shown: Vec<_> = counts
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    format!("{} faults ({})", events.len(), shown.join(", "))
}

impl Event {
    pub(super) fn describe(&self) -> String {
        format!(
            "{}..{} (healthy {}) {}",
            seconds(self.began_ms),
            seconds(self.over_ms),
            seconds(self.healthy_ms),
            self.what
        )
    }
}

fn happen(kafka: &KafkaCluster, clock: Clock, step: &Step) -> Event {
    let broker = match step.target {
        Target::Leader(partition) => kafka.leader(
            YARDSTICK_TOPICS[0],
            (partition % YARDSTICK_PARTITIONS) as i32,
        ),
        Target::Broker(index) => {
            let ids = kafka.broker_ids();
            ids[index % ids.len()]
        }
    };
    let began_ms = clock.now_ms();
    strike(kafka, broker, &step.fault);
    let over_ms = clock.now_ms();
    kafka.wait_until_replicated();
    let healthy_ms = clock.now_ms();
    // Otherwise a broker that was down would lead nothing for minutes, and its faults would have no effect.
    kafka.elect_preferred_leaders();
    Event {
        what: format!("broker {broker}: {}", step.fault),
        kind: step.fault.kind(),
        began_ms,
        over_ms,
        healthy_ms,
    }
}

/// Lets the fault happen and ends it.
fn strike(kafka: &KafkaCluster, broker: i32, fault: &Fault) {
    let set = |weather| {
        for proxy in kafka.proxies(broker) {
            proxy.set(weather);
        }
    };
    let storm = |weather, lasting| {
        set(weather);
        pass(lasting);
        set(Weather::Fair);
    };
    match *fault {
        Fault::Kill { down } => {
            kafka.kill(broker);
            // A dead broker's port accepts no connections, so its proxy must not either.
            set(Weather::Cut);
            pass(down);
            kafka.restart(broker);
            set(Weather::Fair);
        }
        Fault::Terminate { down } => {
            kafka.stop(broker);
            pass(down);
            kafka.restart(broker);
        }
        Fault::Stop { lasting } => {
            kafka.pause(broker);
            pass(lasting);
            kafka.resume(broker);
        }
        Fault::MoveLeaders { by } => kafka.rotate_leaders(&TOPICS, by),
        Fault::Cut { lasting } => storm(Weather::Cut, lasting),
        Fault::Hang { lasting, breaks } => {
            set(Weather::Hang);
            pass(lasting);
            if breaks {
                kafka.proxies(broker).for_each(Proxy::reset);
            }
            set(Weather::Fair);
        }
        Fault::Delay { each_way, lasting } => storm(Weather::Delay(each_way), lasting),
        Fault::Slow {
            bytes_a_second,
            lasting,
        } => storm(Weather::Slow(bytes_a_second), lasting),
        Fault::CutInFrame { way, lasting } => storm(Weather::CutInFrame(way), lasting),
        Fault::LoseAnswers { lasting } => storm(Weather::AnswersLost, lasting),
        Fault::AddPartition => add_partition(kafka),
        Fault::Shrink {
            max_message_bytes,
            lasting,
        } => {
            limit_messages(kafka, max_message_bytes);
            pass(lasting);
            limit_messages(kafka, KAFKAS_DEFAULT);
        }
    }
}

fn add_partition(kafka: &KafkaCluster) {
    let topic = LOAD_TOPICS[0];
    let partitions = kafka.partitions(topic).len() as i32;
    if partitions < MOST_PARTITIONS {
        kafka.add_partitions(topic, partitions + 1);
    }
}

fn limit_messages(kafka: &KafkaCluster, bytes: u32) {
    let configs = [("max.message.bytes", &*bytes.to_string())];
    kafka.alter_topic_configs(LOAD_TOPICS[1], &configs);
}

const KAFKAS_DEFAULT: u32 = 1_048_588;
/// Each partition costs files and fetches of three brokers on one machine.
const MOST_PARTITIONS: i32 = 24;
