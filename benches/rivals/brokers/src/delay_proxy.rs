//! A link with a delay: what it reads on one side it writes on the other one when half the round trip is over. The link is
//! as wide as the machine lets it be, and holds what is on its way.
//!
//! `delay-proxy ROUND_TRIP_MS` prints its address, reads the target's from its standard input and ends with that. In this
//! order, because a broker must know the proxy's address: it tells it to clients.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [round_trip_ms] = &arguments[..] else {
        eprintln!("delay-proxy ROUND_TRIP_MS");
        std::process::exit(2);
    };
    let one_way = Duration::from_millis(round_trip_ms.parse().expect("milliseconds")) / 2;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("a bound socket"));
    let mut target = String::new();
    let _ = std::io::stdin().read_line(&mut target);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Ok(server) = TcpStream::connect(target.trim()) {
                let copies = client
                    .try_clone()
                    .and_then(|c| Ok((c, server.try_clone()?)));
                if let Ok((client_too, server_too)) = copies {
                    delay(client, server, one_way);
                    delay(server_too, client_too, one_way);
                }
            }
        }
    });
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

/// Bytes, and when they are due.
type Parcel = (Instant, Vec<u8>);

/// One direction: a thread that reads and one that writes.
fn delay(from: TcpStream, to: TcpStream, one_way: Duration) {
    let _ = to.set_nodelay(true);
    let (put, take) = channel();
    thread::spawn(move || read(from, &put, one_way));
    thread::spawn(move || write(to, &take));
}

fn read(mut from: TcpStream, parcels: &Sender<Parcel>, one_way: Duration) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let parcel = (Instant::now() + one_way, buffer[..read].to_vec());
        if parcels.send(parcel).is_err() {
            return;
        }
    }
}

fn write(mut to: TcpStream, parcels: &Receiver<Parcel>) {
    for (due, bytes) in parcels {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
