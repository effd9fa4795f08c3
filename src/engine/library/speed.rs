//! The rate limits of all torrents together, as they outlive a run: one row among the settings.
//!
//! As with every setting the last change wins: the row says beside the value what the configuration said when a client changed
//! it, and goes when the configuration says something else.

use super::{Remembered, SettingRow};
use crate::config::schedule::Window;
use crate::engine::Engine;
use crate::engine::limits::{Cap, Limits};
use crate::engine::message::{Answer, StoreTask};
use crate::ids::ReplyId;

/// The row's key; no key of the configuration is like it.
const KEY: &str = "limits";

impl Engine {
    /// Other limits from now on; answered when they are on disk, where there is a library.
    pub(in crate::engine) fn speed_change(
        &mut self,
        limits: Limits,
        is_configured: bool,
        reply: Option<ReplyId>,
    ) {
        if !self.library.on {
            self.speed_set(limits);
            return self.shared.reply(reply, Answer::Done);
        }
        let configured = if is_configured {
            self.library.speed_configured = Some(limits.clone());
            limits.clone()
        } else {
            self.speed_configured()
        };
        let row = SettingRow {
            key: KEY.to_owned(),
            value: (limits != configured).then(|| text_of(&limits)),
            configured: text_of(&configured),
        };
        let pending = self.library.wait(reply, Answer::Done, None);
        let task = StoreTask::KeepSettings(vec![row]);
        let job = self.library_store(task, Some(pending));
        self.library.speeds.insert(job, limits);
        self.settle(pending);
    }

    /// What the configuration says, as it was read last.
    fn speed_configured(&self) -> Limits {
        let read_again = self.library.speed_configured.clone();
        read_again.unwrap_or_else(|| Limits::of(&self.library.tuned.configured().limits))
    }

    /// Takes over what an earlier run has left, and takes it out of what is `remembered`.
    pub(super) fn speed_remembered(&mut self, remembered: &mut Remembered) {
        let Some(at) = remembered.settings.iter().position(|row| row.key == KEY) else {
            return;
        };
        let row = remembered.settings.remove(at);
        let configured = self.speed_configured();
        let limits = row.value.as_deref().and_then(limits_of);
        match limits.filter(|_| row.configured == text_of(&configured)) {
            Some(limits) => self.speed_set(limits),
            None => {
                log::info!(
                    "limits: the configuration has changed them; what a client had set holds no longer"
                );
                let gone = SettingRow { value: None, ..row };
                self.library_store(StoreTask::KeepSettings(vec![gone]), None);
            }
        }
    }
}

/// A line for each value, and one for each window of the schedule.
fn text_of(limits: &Limits) -> String {
    let caps = [
        limits.download,
        limits.upload,
        limits.alt_download,
        limits.alt_upload,
    ];
    let mut lines: Vec<String> = caps
        .iter()
        .map(|cap| format!("{} {}", cap.rate, cap.on))
        .collect();
    lines.push(format!("{} {}", limits.alt_on, limits.schedule_on));
    lines.extend(limits.schedule.iter().map(ToString::to_string));
    lines.join("\n")
}

/// The inverse.
fn limits_of(text: &str) -> Option<Limits> {
    let mut lines = text.lines();
    let mut cap = || {
        let (rate, on) = lines.next()?.split_once(' ')?;
        Some(Cap {
            rate: rate.parse().ok()?,
            on: on.parse().ok()?,
        })
    };
    let (download, upload, alt_download, alt_upload) = (cap()?, cap()?, cap()?, cap()?);
    let (alt_on, schedule_on) = lines.next()?.split_once(' ')?;
    Some(Limits {
        download,
        upload,
        alt_download,
        alt_upload,
        alt_on: alt_on.parse().ok()?,
        schedule_on: schedule_on.parse().ok()?,
        schedule: lines.map(Window::parse).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_were_written() {
        let cap = |rate, on| Cap { rate, on };
        let limits = Limits {
            download: cap(1, true),
            upload: cap(2, false),
            alt_download: cap(0, true),
            alt_upload: cap(u64::MAX, false),
            alt_on: true,
            schedule_on: true,
            schedule: [
                "mon-fri 09:00-17:00",
                "daily 01:00-02:00",
                "never 00:00-01:00",
            ]
            .iter()
            .filter_map(|text| Window::parse(text))
            .collect(),
        };
        for limits in [limits, Limits::default()] {
            assert_eq!(limits_of(&text_of(&limits)), Some(limits));
        }
        for text in ["", "1 true", "1 true\n1 true\n1 true\n1 true\n1 1", "x"] {
            assert_eq!(limits_of(text), None, "{text:?}");
        }
    }
}
