//! One line that several share: full, fair, and out of the way of others.

use super::*;

/// 10 Mbit/s.
const RATE: u64 = 1_250_000;

fn counted(net: &Net, side: usize, stream: StreamId) -> u64 {
    net.sides[side].counted.get(&stream).copied().unwrap_or(0)
}

/// How much arrives on each in `span`, always having something to send.
fn run(
    net: &mut Net,
    to: usize,
    flows: &[(usize, StreamId, StreamId)],
    span: Duration,
) -> Vec<u64> {
    let before: Vec<u64> = flows.iter().map(|flow| counted(net, to, flow.2)).collect();
    let end = net.now + span;
    while net.now < end {
        for &(from, ours, _) in flows {
            let queued = net.sides[from].utp.of(ours).map_or(0, |one| one.queued());
            if queued < 2_000_000 {
                net.send(from, ours, vec![5; 2_000_000]);
            }
        }
        net.pass(Duration::from_millis(100));
    }
    let after = flows.iter().map(|flow| counted(net, to, flow.2));
    after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

#[test]
fn a_line_is_filled_and_its_queue_stays_near_the_target() {
    // A queue of two seconds: TCP would fill it.
    let mut net = Net::new(3, Path::new(50), 2);
    net.sides[1].counts_only = true;
    net.lines.insert(1, Line::new(RATE, 2 * RATE));
    let (ours, theirs) = net.connect(0, 1);
    let flows = [(0, ours, theirs)];
    run(&mut net, 1, &flows, Duration::from_secs(30));
    net.lines.get_mut(&1).unwrap().longest = Duration::ZERO;
    let got = run(&mut net, 1, &flows, Duration::from_secs(30))[0];
    assert!(got > 30 * RATE * 90 / 100, "{got}");
    let longest = net.lines[&1].longest;
    assert!(longest < Duration::from_millis(140), "{longest:?}");
}

#[test]
fn a_long_fast_line_is_filled() {
    // 100 Mbit/s, a round trip of 100 ms: 1.25 MB are under way.
    let mut net = Net::new(3, Path::new(50), 2);
    net.sides[1].counts_only = true;
    net.lines.insert(1, Line::new(10 * RATE, RATE));
    let (ours, theirs) = net.connect(0, 1);
    let flows = [(0, ours, theirs)];
    run(&mut net, 1, &flows, Duration::from_secs(5));
    let got = run(&mut net, 1, &flows, Duration::from_secs(5))[0];
    assert!(got > 5 * 10 * RATE * 90 / 100, "{got}");
}

#[test]
fn two_share_a_line() {
    let mut net = Net::new(3, Path::new(25), 3);
    net.sides[2].counts_only = true;
    net.lines.insert(2, Line::new(RATE, RATE / 5));
    let (a, at_a) = net.connect(0, 2);
    let (b, at_b) = net.connect(1, 2);
    let flows = [(0, a, at_a), (1, b, at_b)];
    run(&mut net, 2, &flows, Duration::from_secs(60));
    let got = run(&mut net, 2, &flows, Duration::from_secs(60));
    let (more, less) = (got[0].max(got[1]), got[0].min(got[1]));
    assert!(more + less > 60 * RATE * 85 / 100, "{got:?}");
    assert!(less * 3 > more, "{got:?}");
}

#[test]
fn it_gets_out_of_the_way_of_tcp() {
    // A flow that grows by a packet in a round trip and halves at a loss, through the same queue of 400 ms.
    let mut net = Net::new(3, Path::new(25), 2);
    net.sides[1].counts_only = true;
    net.lines.insert(1, Line::new(RATE, RATE * 2 / 5));
    let (ours, theirs) = net.connect(0, 1);
    let flows = [(0, ours, theirs)];
    run(&mut net, 1, &flows, Duration::from_secs(20));
    let mut tcp = Tcp::default();
    let before = counted(&net, 1, theirs);
    let end = net.now + Duration::from_secs(60);
    while net.now < end {
        if net.sides[0].of(ours).queued() < 1_000_000 {
            net.send(0, ours, vec![5; 1_000_000]);
        }
        let next = tcp.step(net.now, net.lines.get_mut(&1).unwrap());
        net.pass(next.since(net.now).min(Duration::from_millis(10)));
    }
    let utp = counted(&net, 1, theirs) - before;
    assert!(tcp.delivered > utp * 4, "TCP {} uTP {utp}", tcp.delivered);
    assert!(
        tcp.delivered + utp > 60 * RATE * 80 / 100,
        "TCP {} uTP {utp}",
        tcp.delivered
    );
    // And takes the line again when it is free.
    let again = run(&mut net, 1, &flows, Duration::from_secs(60))[0];
    assert!(again > 60 * RATE * 70 / 100, "{again}");
}

/// Nothing but additive increase and multiplicative decrease.
struct Tcp {
    window: f64,
    under_way: VecDeque<(Instant, bool)>,
    delivered: u64,
    reduced_at: Instant,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            window: 10.0,
            under_way: VecDeque::new(),
            delivered: 0,
            reduced_at: Instant::ZERO,
        }
    }
}

impl Tcp {
    fn step(&mut self, now: Instant, line: &mut Line) -> Instant {
        while let Some(&(at, arrived)) = self.under_way.front()
            && at <= now
        {
            self.under_way.pop_front();
            if arrived {
                self.delivered += 1460;
                // From the beginning until the first loss it doubles.
                let starts = self.reduced_at == Instant::ZERO;
                self.window += if starts { 1.0 } else { 1.0 / self.window };
            } else if now.since(self.reduced_at) > Duration::from_millis(100) {
                self.reduced_at = now;
                self.window = (self.window / 2.0).max(2.0);
            }
        }
        while (self.under_way.len() as f64) < self.window {
            let rtt = Duration::from_millis(50);
            let (at, arrived) = match line.pass(now, 1460) {
                Some(passed) => (passed + rtt, true),
                None => (line.free_at + rtt, false),
            };
            self.under_way.push_back((at, arrived));
        }
        self.under_way.front().map_or(now, |(at, _)| *at)
    }
}
