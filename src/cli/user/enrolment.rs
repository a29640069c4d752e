//! `user totp`: a second factor is shown, and counts when its phone has shown a code.
//!
//! Guarantees: nothing is stored before a first code fits (three tries), so a code that nobody scanned locks nobody out;
//! that first code opens nothing after.

use super::super::key::Console;
use super::{UserCommandError, UserContext, done, parse};
use crate::config::secret::Secret;
use crate::identity::pepper::Pepper;
use crate::identity::second_factor::{Confirmed, Enrolment};
use crate::store::timestamp::Timestamp;
use crate::store::user_record::UserName;
use crate::telemetry::clock;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use std::io::{BufRead as _, Read as _, Write};

/// Whether a first code is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstCode {
    Asked,
    NotAsked,
}

/// Shown first, stored then: a second factor that no phone has would lock its user out.
pub(super) async fn enrol(
    name: &str,
    first: FirstCode,
    context: &UserContext<'_>,
    console: Console<'_>,
) -> Result<(), UserCommandError> {
    let name = parse(name)?;
    if context.store.user(&name).await?.is_none() {
        return Err(UserCommandError::Unknown(name));
    }
    let pepper = Pepper::open(context.state, context.store).await?;
    let drawn = Enrolment::draw(&pepper, &name, context.issuer)?;
    let code = QrCode::new(drawn.url.expose()).map_err(|_| UserCommandError::Picture)?;
    writeln!(console.out, "{}\n{}\n", code.render::<Dense1x2>().build(), drawn.url.expose())?;
    writeln!(console.out, "Recovery codes, each for one sign-in without the phone:")?;
    for code in &drawn.codes {
        writeln!(console.out, "  {}", code.expose())?;
    }
    console.out.flush()?;
    let confirmed = match first {
        FirstCode::NotAsked => None,
        FirstCode::Asked => Some(confirm(&drawn, (&pepper, &name), console.err)?),
    };
    let change = drawn.store(context.store, &name, confirmed).await?;
    done(&name, change, "has a second factor; it is shown only now", console)
}

/// Asks for a code until one fits, a few times.
fn confirm(
    drawn: &Enrolment,
    (pepper, name): (&Pepper, &UserName),
    err: &mut (dyn Write + Send),
) -> Result<Confirmed, UserCommandError> {
    const TRIES: u8 = 3;
    for _ in 0..TRIES {
        write!(err, "The code that the phone shows now: ")?;
        err.flush()?;
        let mut line = String::new();
        if std::io::stdin().lock().take(64).read_line(&mut line)? == 0 {
            break;
        }
        let code = Secret::new(line.trim().to_owned());
        // Whoever scans takes a while: the present is that of the code.
        let now = Timestamp::from(clock::now());
        if let Some(confirmed) = drawn.confirmed_by(pepper, name, (&code, now)) {
            return Ok(confirmed);
        }
        writeln!(err, "That is not it. Is the phone's clock right?")?;
    }
    Err(UserCommandError::Unconfirmed)
}
