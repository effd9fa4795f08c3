"""The Python package transmission-rpc against a daemon: package.py CASE WORLD

WORLD is a JSON object: rpc (HOST:PORT), downloads and empty (directories), data (a directory that holds both torrents'
files), one and two (paths of torrent files named "multi" and "two": files one, sub/two, empty), one_hash, two_hash.
Every case has a daemon of its own. A surprise ends it with a traceback, and exit code 1.
"""

import json
import pathlib
import sys
import time
import warnings

import transmission_rpc as package
from transmission_rpc.constants import TORRENT_GET_ARGS

FILES = {"one": 100_000, "sub/two": 200_000, "empty": 0}
TOTAL = sum(FILES.values())
HANG = 60


def eventually(what, f):
    """Polls until `f` gives something true, and gives that."""
    start = time.monotonic()
    while True:
        value = f()
        if value:
            return value
        assert time.monotonic() - start < HANG, f"waited in vain for {what}"
        time.sleep(0.05)


def refused(f, *words):
    """`f` must be refused by the server with a text that has these words."""
    try:
        answer = f()
    except package.TransmissionError as error:
        assert not isinstance(error, (package.TransmissionConnectError, package.TransmissionTimeoutError)), error
        for word in words:
            assert word in str(error), f"{word!r} is not in {error}"
        return
    raise AssertionError(f"not refused but answered with {answer!r}")


def status(client, torrent, want):
    return eventually(want, lambda: client.get_torrent(torrent).status == want)


def add(client, world):
    """By path, by open file, by bytes, by name on the server, by magnet link; paused; with labels and a directory."""
    one = client.add_torrent(pathlib.Path(world["one"]), paused=True, labels=["films", "new"], download_dir=world["empty"],
                             files_unwanted=[1], peer_limit=7, bandwidth_priority=1, priority_high=[0])
    assert one.hash_string == world["one_hash"] and one.name == "multi" and one.id > 0
    with open(world["two"], "rb") as file:
        two = client.add_torrent(file, paused=True)
    assert two.hash_string == world["two_hash"]
    shown = client.get_torrent(one.id)
    assert shown.status == "stopped" and shown.labels == ["films", "new"], shown.fields
    assert shown.download_dir == world["empty"] and shown.peer_limit == 7
    assert shown.wanted == [1, 0, 1], shown.wanted
    assert shown.bandwidth_priority == 1
    assert client.get_torrent(two.id).download_dir == world["downloads"]
    # Again, in every other way: the same torrent.
    with open(world["one"], "rb") as file:
        assert client.add_torrent(file.read()).id == one.id
    assert client.add_torrent(world["one"]).id == one.id
    link = "magnet:?xt=urn:btih:" + "ab" * 20 + "&dn=a%20link&tr=http%3A%2F%2F127.0.0.1%3A1%2Fannounce"
    magnet = client.add_torrent(link, labels=["link"])
    assert magnet.hash_string == "ab" * 20
    magnet = client.get_torrent(magnet.id)
    assert magnet.metadata_percent_complete == 0.0 and magnet.labels == ["link"] and magnet.total_size == 0
    assert magnet.get_files() == []
    refused(lambda: client.add_torrent(b"not a torrent"), "torrent")
    refused(lambda: client.add_torrent("magnet:?dn=nothing"), "magnet")
    refused(lambda: client.add_torrent(world["one"] + ".none"))
    refused(lambda: client.add_torrent(pathlib.Path(world["one"]), download_dir="relative"), "absolute")


def look(client, world):
    """Every field that the package knows, of every torrent, through every property it has for them."""
    client.add_torrent(pathlib.Path(world["one"]), download_dir=world["data"])
    client.add_torrent(pathlib.Path(world["two"]), paused=True)
    status(client, world["one_hash"], "seeding")
    status(client, world["two_hash"], "stopped")
    torrents = {torrent.hash_string: torrent for torrent in client.get_torrents()}
    assert set(torrents) == {world["one_hash"], world["two_hash"]}
    removed = {name for name, args in TORRENT_GET_ARGS.items() if args.removed_version}
    for torrent in torrents.values():
        missing = set(client.torrent_get_arguments) - removed - set(torrent.fields)
        assert not missing, f"fields that are not there: {sorted(missing)}"
        for name in sorted(dir(type(torrent))):
            if isinstance(getattr(type(torrent), name), property):
                try:
                    getattr(torrent, name)
                except KeyError as error:
                    # Properties for servers newer than the version we name.
                    assert error.args[0] not in torrent.fields, name
        assert {(file.name, file.size, file.selected) for file in torrent.get_files()} == {
            (f"{torrent.name}/{name}", size, True) for name, size in FILES.items()}
        assert torrent.total_size == TOTAL and torrent.fields["file-count"] == 3
        assert torrent.fields["primary-mime-type"], torrent.fields["primary-mime-type"]
        assert torrent.magnet_link.startswith("magnet:?xt=urn:btih:" + torrent.hash_string)
        tracker, = torrent.trackers
        assert tracker.announce.startswith("http://127.0.0.1:") and tracker.tier == 0
        stats, = torrent.tracker_stats
        for name in sorted(dir(type(stats))):
            if isinstance(getattr(type(stats), name), property):
                getattr(stats, name)
    one, two = torrents[world["one_hash"]], torrents[world["two_hash"]]
    assert one.progress == 100 and one.left_until_done == 0 and one.seeding and one.percent_complete == 1
    assert two.progress == 0 and two.left_until_done == TOTAL and two.stopped
    assert one.added_date.timestamp() > 1_000_000_000 and one.activity_date is not None
    # Some fields only; one torrent by number and by hash; one that is not there.
    assert set(client.get_torrent(one.id, arguments=["name"]).fields) == {"id", "hashString", "name"}
    assert client.get_torrent(one.hash_string).id == one.id
    assert len(client.get_torrents([one.id, two.hash_string])) == 2
    try:
        client.get_torrent(4711)
        raise AssertionError("there is no such torrent")
    except KeyError:
        pass
    active, gone = client.get_recently_active_torrents()
    assert {torrent.id for torrent in active} <= {one.id, two.id} and gone == []


def change(client, world):
    """Everything that change_torrent can say is what get_torrent says then."""
    one = client.add_torrent(pathlib.Path(world["one"]), paused=True).id
    two = client.add_torrent(pathlib.Path(world["two"]), paused=True).id
    client.set_group("slow", speed_limit_up=50, speed_limit_up_enabled=True, honors_session_limits=True)
    assert client.get_group("slow").speed_limit_up == 50 and client.get_group("none") is None
    assert "slow" in client.get_groups()
    trackers = [["http://127.0.0.1:1/a", "http://127.0.0.1:2/b"], ["udp://127.0.0.1:3/announce"]]
    client.change_torrent(
        one, bandwidth_priority=-1, download_limit=11, download_limited=True, upload_limit=12, upload_limited=True,
        files_unwanted=[0], honors_session_limits=False, peer_limit=33, seed_idle_limit=44, seed_idle_mode=1,
        seed_ratio_limit=2.5, seed_ratio_mode=1, labels=["x", "y"], group="slow", tracker_list=trackers, queue_position=1)
    shown = client.get_torrent(one)
    want = {
        "bandwidthPriority": -1, "downloadLimit": 11, "downloadLimited": True, "uploadLimit": 12, "uploadLimited": True,
        "wanted": [0, 1, 1], "honorsSessionLimits": False, "peer-limit": 33, "maxConnectedPeers": 33, "seedIdleLimit": 44,
        "seedIdleMode": 1, "seedRatioLimit": 2.5, "seedRatioMode": 1, "labels": ["x", "y"], "group": "slow",
        "queuePosition": 1,
    }
    assert {name: shown.fields[name] for name in want} == want, shown.fields
    assert [(tracker.announce, tracker.tier) for tracker in shown.trackers] == [
        (url, tier) for tier, urls in enumerate(trackers) for url in urls]
    assert shown.tracker_list == [url for tier in trackers for url in tier], shown.tracker_list
    assert client.get_torrent(two).fields["queuePosition"] == 0
    # Back again, for both at once; the older ways to change trackers.
    client.change_torrent([one, two], files_wanted=[0], seed_ratio_mode=2, seed_idle_mode=0, labels=[], group="",
                          download_limited=False)
    for torrent in client.get_torrents():
        assert torrent.wanted == [1, 1, 1] and torrent.labels == [] and not torrent.download_limited
        assert torrent.seed_ratio_mode == 2 and torrent.fields["group"] == ""
    ids = [tracker.id for tracker in client.get_torrent(one).trackers]
    client.change_torrent(one, tracker_remove=[ids[0]])
    client.change_torrent(one, tracker_add=["http://127.0.0.1:9/new"])
    client.change_torrent(one, tracker_replace=[ids[1], "http://127.0.0.1:8/other"])
    urls = [tracker.announce for tracker in client.get_torrent(one).trackers]
    assert urls == ["http://127.0.0.1:8/other", "udp://127.0.0.1:3/announce", "http://127.0.0.1:9/new"], urls
    refused(lambda: client.change_torrent(one, seed_ratio_mode=3), "0, 1 or 2")
    refused(lambda: client.change_torrent(one, files_unwanted=[3]), "file index")
    refused(lambda: client.change_torrent(one, tracker_list=[["nonsense"]]), "nonsense")


def act(client, world):
    """Start, stop, verify, ask again, queue moves."""
    one = client.add_torrent(pathlib.Path(world["one"]), download_dir=world["data"], paused=True).id
    two = client.add_torrent(pathlib.Path(world["two"]), download_dir=world["data"], paused=True).id
    client.verify_torrent(one)
    eventually("what is there to be found", lambda: client.get_torrent(one).percent_done == 1)
    status(client, one, "stopped")
    client.start_torrent(one)
    status(client, one, "seeding")
    client.stop_torrent(one)
    assert client.get_torrent(one).status == "stopped", "the answer is given when it is so"
    client.start_torrent_now(one)
    client.start_torrent(two)
    for torrent in (one, two):
        status(client, torrent, "seeding")
    client.reannounce_torrent([one, two])
    client.stop_torrent([one, two])

    def order():
        return [torrent.id for torrent in sorted(client.get_torrents(), key=lambda torrent: torrent.queue_position)]

    assert order() == [one, two]
    for move, want in [(client.queue_bottom, [two, one]), (client.queue_up, [one, two]), (client.queue_down, [two, one]),
                       (client.queue_top, [one, two])]:
        move(one)
        assert order() == want, move.__name__


def move(client, world):
    """Data goes to another directory and gets another name."""
    one = client.add_torrent(pathlib.Path(world["one"]), download_dir=world["data"]).id
    status(client, one, "seeding")
    to = pathlib.Path(world["empty"])
    client.move_torrent_data(one, to)
    eventually("the files", lambda: (to / "multi/sub/two").exists() and not (to.parent / "data/multi/one").exists())
    assert client.get_torrent(one).download_dir == str(to)
    eventually("the end of the move", lambda: client.get_torrent(one).status == "seeding")
    path, name = client.rename_torrent_path(one, "multi/one", "first")
    assert (path, name) == ("multi/one", "first")
    eventually("the file's other name", lambda: (to / "multi/first").exists())
    assert "multi/first" in [file.name for file in client.get_torrent(one).get_files()]
    client.rename_torrent_path(one, "multi", "many")
    eventually("the directory's other name", lambda: (to / "many/first").exists())
    assert client.get_torrent(one).name == "many"
    refused(lambda: client.rename_torrent_path(one, "many/none", "x"))
    refused(lambda: client.rename_torrent_path(one, "many/first", "../x"))
    free = client.free_space(to)
    assert isinstance(free, int) and free > 0
    refused(lambda: client.free_space("relative"), "absolute")


def session(client, world):
    """Settings are read, set and read again; numbers of this run and of all; what Linnet has not says so."""
    before = client.get_session()
    assert before.download_dir == world["downloads"] and before.rpc_version >= 17 and before.rpc_version_minimum <= 14
    assert before.version.startswith("4.1") and client.semver_version is not None
    newer = set()
    for name in sorted(dir(type(before))):
        if isinstance(getattr(type(before), name), property):
            try:
                getattr(before, name)
            except KeyError:
                newer.add(name)
    assert newer <= NOT_IN_SESSION, f"properties of the session that are not there: {sorted(newer - NOT_IN_SESSION)}"
    client.set_session(
        speed_limit_down=1000, speed_limit_down_enabled=True, speed_limit_up=500, speed_limit_up_enabled=True,
        alt_speed_down=70, alt_speed_up=30, alt_speed_enabled=True, seed_ratio_limit=1.5, seed_ratio_limited=True,
        idle_seeding_limit=60, idle_seeding_limit_enabled=True, download_queue_size=3, download_queue_enabled=True,
        start_added_torrents=False, peer_limit_global=300, peer_limit_per_torrent=40)
    after = client.get_session()
    want = {
        "speed-limit-down": 1000, "speed-limit-down-enabled": True, "speed-limit-up": 500, "speed-limit-up-enabled": True,
        "alt-speed-down": 70, "alt-speed-up": 30, "alt-speed-enabled": True, "seedRatioLimit": 1.5, "seedRatioLimited": True,
        "idle-seeding-limit": 60, "idle-seeding-limit-enabled": True, "download-queue-size": 3,
        "download-queue-enabled": True, "start-added-torrents": False, "peer-limit-global": 300, "peer-limit-per-torrent": 40,
    }
    assert {name: after.fields.get(name) for name in want} == want, after.fields
    one = client.add_torrent(pathlib.Path(world["one"]))
    assert client.get_torrent(one.id).status == "stopped", "as start-added-torrents says"
    stats = client.session_stats()
    assert stats.torrent_count == 1 and stats.paused_torrent_count == 1 and stats.active_torrent_count == 0
    assert stats.current_stats.session_count == 1 and stats.cumulative_stats.session_count == 1
    assert stats.download_speed == 0 and stats.upload_speed == 0
    refused(lambda: client.set_session(alt_speed_time_begin=1440), "1439")
    assert client.blocklist_update() == 0, "no list"
    refused(client.port_test, "port")


# What the package has properties for and RPC 18 has not told yet, or Linnet has no such thing.
NOT_IN_SESSION = set()


def remove(client, world):
    """Without the data and with it."""
    data = pathlib.Path(world["data"])
    one = client.add_torrent(pathlib.Path(world["one"]), download_dir=world["data"]).id
    two = client.add_torrent(pathlib.Path(world["two"]), download_dir=world["data"]).id
    for torrent in (one, two):
        status(client, torrent, "seeding")
    client.remove_torrent(one)
    assert [torrent.id for torrent in client.get_torrents()] == [two]
    client.remove_torrent(two, delete_data=True)
    assert client.get_torrents() == []
    eventually("the files to go", lambda: not (data / "two").exists())
    assert (data / "multi/one").stat().st_size == FILES["one"], "the other one's data stays"
    assert sorted(client.get_recently_active_torrents()[1]) == sorted([one, two])


def main():
    case, world = sys.argv[1], json.loads(sys.argv[2])
    # Properties that the package itself would rather not have any more are read all the same.
    warnings.simplefilter("ignore", DeprecationWarning)
    host, port = world["rpc"].rsplit(":", 1)
    with package.Client(host=host, port=int(port), timeout=HANG) as client:
        globals()[case](client, world)
    print("done")


main()
