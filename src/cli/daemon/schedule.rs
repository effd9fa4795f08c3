//! The alternative limits switch on and off by the week's hours. Local time is known here and nowhere below.

#![allow(
    clippy::disallowed_methods,
    reason = "the time of day decides which limits hold"
)]

use super::reload::DISK_TIME_MAX;
use super::{ANSWER_TIME_MAX, Running};
use crate::engine::message::{Answer, Message};
use crate::time::Duration;

/// How long until the next minute begins, and a little.
pub(super) fn next_minute() -> Duration {
    let second = u64::try_from(jiff::Zoned::now().second()).unwrap_or_default();
    Duration::from_secs(60_u64.saturating_sub(second).max(1))
}

/// Day of the week, 0 being Sunday, and minute of the day.
fn local() -> (u8, u16) {
    let now = jiff::Zoned::now();
    let day = u8::try_from(now.weekday().to_sunday_zero_offset()).unwrap_or_default();
    let minute = u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs());
    (day, minute)
}

impl Running {
    /// Switches where the schedule begins or ends something. In between a person's word holds.
    pub(super) fn follow_schedule(&mut self) {
        let handle = self.runtime.handle();
        let Ok(Answer::Speed(speed)) = handle.ask(Message::SpeedShow, ANSWER_TIME_MAX) else {
            return;
        };
        let (mut limits, _) = *speed;
        let (day, minute) = local();
        let wanted = limits.scheduled(day, minute);
        if self.scheduled == wanted {
            return;
        }
        let Some(on) = wanted.filter(|on| *on != limits.alt_on) else {
            self.scheduled = wanted;
            return;
        };
        limits.alt_on = on;
        let word = if on { "on" } else { "off" };
        // Tried again with the next minute when it fails.
        match handle.ask(
            Message::SpeedSet {
                limits: Box::new(limits),
                is_configured: false,
            },
            DISK_TIME_MAX,
        ) {
            Ok(Answer::Done) => {
                self.scheduled = wanted;
                log::info!("the alternative limits are {word}, by their schedule");
            }
            Ok(Answer::Refused(refusal)) => log::error!("the alternative limits: {refusal}"),
            Ok(_) => log::error!("the alternative limits: a strange answer"),
            Err(fault) => log::error!("the alternative limits: {fault}"),
        }
    }
}
