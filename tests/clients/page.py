"""Transmission's own web page in headless Chromium, driven by clicks: page.py WORLD

WORLD is a JSON object: rpc (HOST:PORT of the daemon, which serves the page), profile (a directory for the browser), peer
(the address of a peer of the torrent "multi", which is being seeded), two (path of a torrent
file named "two"), downloads. What the page shows is asked of its elements; what came of a click is asked of the daemon
too. Written for the page of Transmission 3.00, which Debian 12 has. A surprise ends it with a traceback, and exit code 1.
"""

import json
import sys
import urllib.error
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

HANG = 60


class Daemon:
    """The daemon by its own RPC, to look behind the page."""

    def __init__(self, rpc):
        self.url = f"http://{rpc}/transmission/rpc"
        self.session = "0"

    def ask(self, method, **arguments):
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        for _ in range(2):
            try:
                headers = {"X-Transmission-Session-Id": self.session}
                with urllib.request.urlopen(urllib.request.Request(self.url, body, headers)) as answer:
                    answer = json.load(answer)
                assert answer["result"] == "success", answer
                return answer["arguments"]
            except urllib.error.HTTPError as error:
                assert error.code == 409, error
                self.session = error.headers["X-Transmission-Session-Id"]
        raise AssertionError("the session id is not taken")

    def torrent(self, name):
        torrents = self.ask("torrent-get", fields=["name", "status", "downloadDir", "hashString"])["torrents"]
        return next((torrent for torrent in torrents if torrent["name"] == name), None)


class Page:
    """The page as a person has it."""

    def __init__(self, driver):
        self.driver = driver

    def find(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css):
        return self.driver.execute_script("return $(arguments[0]).text()", css)

    def eventually(self, what, f):
        return WebDriverWait(self.driver, HANG, 0.1).until(lambda _: f(), f"waited in vain for {what}")

    def click(self, css):
        self.eventually(css, lambda: self.find(css).is_displayed())
        self.find(css).click()

    def row(self, name):
        """The list's row of a torrent, or None. Rows are redrawn: this is asked for each time."""
        rows = self.driver.find_elements(By.CSS_SELECTOR, "#torrent_list li.torrent")
        texts = self.driver.execute_script("return arguments[0].map(row => row.innerText)", rows)
        return next((found for found in zip(rows, texts) if found[1].split("\n")[0].strip() == name), None)

    def says(self, name, word):
        """Waits until the row of a torrent has a word."""
        def look():
            row = self.row(name)
            return row and word in row[1]
        self.eventually(f"{word!r} in the row of {name}", look)

    def select(self, name):
        self.eventually(name, lambda: self.row(name))
        self.row(name)[0].click()


def drive(page, daemon, world):
    page.driver.get(f"http://{world['rpc']}/transmission/web/")
    # The list, and the version as the page takes it.
    page.says("multi", "Seeding")
    assert page.row("multi")[1].count("Ratio") == 1

    # Details: what it is, its peers, its trackers, its files.
    page.select("multi")
    page.click("#toolbar-inspector")
    page.eventually("the hash", lambda: daemon.torrent("multi")["hashString"] in page.text("#inspector-info-hash"))
    page.eventually("the state", lambda: "Seeding" in page.text("#inspector-info-state"))
    assert daemon.torrent("multi")["downloadDir"] in page.text("#inspector-info-location")
    for tab, list, words in [
        ("peers", "#inspector_peers_list", [world["peer"]]),
        ("trackers", "#inspector_trackers_list", ["Tier 1", "127.0.0.1"]),
        ("files", "#inspector_file_list", ["one", "two", "empty"]),
    ]:
        page.click(f"#inspector-tab-{tab}")
        for word in words:
            page.eventually(f"{word!r} among the {tab}", lambda: word in page.text(list))
    page.click("#toolbar-inspector")

    # Paused and resumed, alone and all.
    for pause, resume in [("#toolbar-pause", "#toolbar-start"), ("#toolbar-pause-all", "#toolbar-start-all")]:
        page.click(pause)
        page.says("multi", "Paused")
        assert daemon.torrent("multi")["status"] == 0
        page.click(resume)
        page.says("multi", "Seeding")
        assert daemon.torrent("multi")["status"] == 6

    # Torrents are added by the dialog: a file, not started; then a link.
    page.click("#toolbar-open")
    page.eventually("the dialog", lambda: page.find("#upload_container").is_displayed())
    page.find("#torrent_upload_file").send_keys(world["two"])
    if page.find("#torrent_auto_start").is_selected():
        page.click("#auto_start_label")
    page.click("#upload_confirm_button")
    page.says("two", "Paused")
    assert daemon.torrent("two")["downloadDir"] == world["downloads"]
    page.click("#toolbar-open")
    page.eventually("the dialog", lambda: page.find("#upload_container").is_displayed())
    page.find("#torrent_upload_url").send_keys("magnet:?xt=urn:btih:" + "ab" * 20 + "&dn=link")
    page.click("#upload_confirm_button")
    page.says("link", "")
    assert daemon.torrent("link")["hashString"] == "ab" * 20

    # The turtle: other limits, and back.
    for slow in (True, False):
        page.click("#turtle-button")
        page.eventually("the turtle", lambda: ("selected" in page.find("#turtle-button").get_attribute("class")) == slow)
        page.eventually("the limits", lambda: daemon.ask("session-get")["alt-speed-enabled"] == slow)

    # The settings are filled with what the daemon has, and a change is kept.
    page.click("#prefs-button")
    page.eventually("the settings", lambda: page.find("#download-dir").is_displayed())
    assert page.find("#download-dir").get_attribute("value") == world["downloads"]
    page.click("#seedRatioLimited")
    page.eventually("the goal", lambda: daemon.ask("session-get")["seedRatioLimited"])
    page.driver.execute_script("$('#prefs-dialog').dialog('close')")

    # A torrent is taken from the list, after a question.
    page.select("two")
    page.click("#toolbar-remove")
    page.eventually("the question", lambda: page.find("#dialog_container").is_displayed())
    page.click("#dialog_confirm_button")
    page.eventually("it to be gone", lambda: daemon.torrent("two") is None and page.row("two") is None)
    assert not page.find("#dialog_container").is_displayed(), page.text("#dialog_message")


def main():
    world = json.loads(sys.argv[1])
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
                     "--no-first-run", "--disable-background-networking", "--window-size=1280,1000",
                     f"--user-data-dir={world['profile']}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    try:
        driver.set_page_load_timeout(HANG)
        page = Page(driver)
        try:
            drive(page, Daemon(world["rpc"]), world)
        except BaseException:
            print("the list:", page.text("#torrent_list"), "| the question:", page.text("#dialog_message"), file=sys.stderr)
            print("the console:", driver.get_log("browser"), file=sys.stderr)
            raise
        # A 409 is how the page learns its session id; the browser notes that, and anything else is a fault.
        faults = [line for line in driver.get_log("browser") if line["level"] == "SEVERE" and " 409 " not in line["message"]]
        assert not faults, faults
    finally:
        driver.quit()
    print("done")


main()
