//! Hours of the week, such as `mon-fri 09:00-17:00`: when the alternative limits hold.
//!
//! Local time is the business of whoever asks; here a moment is a day of the week and a minute of that day.

use std::fmt;

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;

/// Days as they are written, Sunday first, as the RPC counts them.
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Hours of some days of the week.
///
/// With `end` before `begin` (or at it) it goes on past midnight into the next day, and belongs to the day it began on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// A bit a day: 1 is Sunday, 2 Monday, 64 Saturday.
    pub days: u8,
    /// Its first minute, from midnight.
    pub begin: u16,
    /// The minute after its last.
    pub end: u16,
}

impl Window {
    /// Reads `DAYS BEGIN-END`: days are `mon`, `mon-fri`, `sat,sun` or `daily`, times `HH:MM`. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (days, hours) = text.trim().rsplit_once(' ')?;
        let (begin, end) = hours.split_once('-')?;
        let (begin, end) = (minute(begin)?, minute(end)?);
        // 24:00 is an end only.
        if begin == DAY_MINUTES {
            return None;
        }
        Some(Self {
            days: days_of(days.trim())?,
            begin,
            end: end % DAY_MINUTES,
        })
    }

    /// Whether it holds at `minute` of `day`, 0 being Sunday.
    #[must_use]
    pub const fn holds(&self, day: u8, minute: u16) -> bool {
        let today = self.days & (1 << (day % 7)) != 0;
        let yesterday = self.days & (1 << ((day + 6) % 7)) != 0;
        if self.begin < self.end {
            today && self.begin <= minute && minute < self.end
        } else {
            (today && self.begin <= minute) || (yesterday && minute < self.end)
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |day: &usize| self.days & (1 << day) != 0;
        let days: Vec<&str> = (0..7).filter(of).map(|day| DAYS[day]).collect();
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let days = match days.len() {
            7 => "daily".to_owned(),
            0 => "never".to_owned(),
            _ => days.join(","),
        };
        write!(f, "{days} {}-{}", time(self.begin), time(self.end))
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let all = hour * 60 + minute;
    (minute < 60 && all <= DAY_MINUTES).then_some(all)
}

fn days_of(text: &str) -> Option<u8> {
    match text {
        "daily" => return Some(0x7f),
        // As a client has it that has ticked no day.
        "never" => return Some(0),
        _ => {}
    }
    let day = |text: &str| DAYS.iter().position(|day| *day == text);
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        loop {
            days |= 1 << at;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_and_shown() {
        #[rustfmt::skip]
        let table = [
            ("mon-fri 09:00-17:00", Some((0b011_1110, 540, 1020)), "mon,tue,wed,thu,fri 09:00-17:00"),
            ("daily 22:30-06:00",   Some((0x7f, 1350, 360)),       "daily 22:30-06:00"),
            ("never 22:30-06:00",   Some((0, 1350, 360)),          "never 22:30-06:00"),
            ("fri-mon 00:00-24:00", Some((0b110_0011, 0, 0)),      "sun,mon,fri,sat 00:00-00:00"),
            (" sat,sun 08:05-08:06", Some((0b100_0001, 485, 486)), "sun,sat 08:05-08:06"),
            ("mon 24:00-01:00", None, ""), ("mon 9:00-17:00", None, ""), ("mon 09:00", None, ""),
            ("moon 09:00-10:00", None, ""), ("09:00-10:00", None, ""), ("mon 09:60-10:00", None, ""),
            ("mon 09:00-24:01", None, ""), ("", None, ""),
        ];
        for (text, want, shown) in table {
            let window = Window::parse(text);
            assert_eq!(
                window.map(|one| (one.days, one.begin, one.end)),
                want,
                "{text}"
            );
            if let Some(window) = window {
                assert_eq!(window.to_string(), shown);
                assert_eq!(Window::parse(shown), Some(window), "{shown}");
            }
        }
    }

    /// Against a walk over the minutes of a week.
    #[test]
    fn hours_hold_on_their_days_and_past_midnight() {
        for text in [
            "mon-fri 09:00-17:00",
            "sat 23:00-01:30",
            "sun,wed 00:00-24:00",
            "daily 12:00-12:01",
        ] {
            let window = Window::parse(text).unwrap();
            let mut week = vec![false; 7 * 1440];
            for day in (0..7).filter(|day| window.days & (1 << day) != 0) {
                let length = (window.end + 1440 - window.begin - 1) % 1440 + 1;
                for minute in 0..length {
                    let at = day * 1440 + usize::from(window.begin + minute);
                    week[at % (7 * 1440)] = true;
                }
            }
            for (at, want) in week.iter().enumerate() {
                let day = u8::try_from(at / 1440).unwrap();
                let minute = u16::try_from(at % 1440).unwrap();
                assert_eq!(
                    window.holds(day, minute),
                    *want,
                    "{text}, day {day} minute {minute}"
                );
            }
        }
    }
}
