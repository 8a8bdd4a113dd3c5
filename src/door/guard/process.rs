//! The guard's loop: reads orders, moves the strike, and locks it when the daemon goes away or falls silent.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::watch::{Answer, Move, Order, Watch};
use crate::clock::Clock;
use crate::door::{RelayError, Strike};

/// An order has less; a longer line is no order.
const MAX_LINE: usize = 4096;

/// Locks the strike, says so, and obeys until the other end of `stream` is closed. The strike is locked when this
/// returns.
///
/// # Errors
/// When the strike cannot be locked at the start, or the socket fails otherwise than by its end.
pub fn serve(stream: UnixStream, mut strike: impl Strike, clock: &dyn Clock) -> io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut orders = BufReader::new(stream);
    let mut watch = Watch::new();
    let mut why = "start".to_owned();
    if let Err(error) = strike.lock(&why) {
        say(&mut answers, &fault(&error))?;
        return Err(error.source);
    }
    say(&mut answers, &Answer::State { unlocked: false, why: why.clone() })?;
    let mut line = Vec::new();
    loop {
        let patience = watch.next_deadline().map(|due| due.since(clock.now()).max(Duration::from_millis(1)));
        orders.get_ref().set_read_timeout(patience)?;
        let read = read_order(&mut orders, &mut line);
        let now = clock.now();
        let (made, asked) = match read {
            Ok(Line::Silence) => (watch.tick(now), false),
            Ok(Line::Order(order)) => (watch.order(order, now), true),
            Ok(Line::End) | Err(_) => {
                strike.lock(watch.hung_up()).map_err(|error| error.source)?;
                return read.map(drop);
            }
        };
        let moved = match &made {
            Some(Move::Unlock(why)) => strike.unlock(Duration::ZERO, why),
            Some(Move::Lock(why)) => strike.lock(why),
            None => Ok(()),
        };
        if let Some(Move::Unlock(reason) | Move::Lock(reason)) = made {
            why = reason;
        }
        let answer = match moved {
            Ok(()) => Answer::State { unlocked: watch.is_unlocked(), why: why.clone() },
            Err(error) => {
                watch.failed();
                // As far as it can be.
                let _ = strike.lock("released after a relay fault");
                fault(&error)
            }
        };
        if asked && say(&mut answers, &answer).is_err() {
            return strike.lock(watch.hung_up()).map_err(|error| error.source);
        }
    }
}

/// One read of the socket.
enum Line {
    Order(Order),
    /// Nothing came in time.
    Silence,
    End,
}

/// Reads an order; what has come of an unfinished one stays in `line` for the next call.
fn read_order(orders: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    match orders.read_until(b'\n', line) {
        Ok(_) if line.ends_with(b"\n") && line.len() <= MAX_LINE => {
            let order = serde_json::from_slice(line).map_err(io::Error::from)?;
            line.clear();
            Ok(Line::Order(order))
        }
        Ok(0) => Ok(Line::End),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "half an order")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(Line::Silence)
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Line::End),
        Err(error) => Err(error),
    }
}

fn say(to: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::from)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// An error in the words that the daemon repeats.
pub fn fault(error: &RelayError) -> Answer {
    Answer::Fault { what: error.what.clone(), cause: error.source.to_string() }
}

/// Tells the daemon that there is no line to guard.
pub fn refuse(mut stream: UnixStream, error: &RelayError) {
    // Nobody listens when the daemon has just ended.
    let _ = say(&mut stream, &fault(error));
}
