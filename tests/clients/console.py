"""Uses the console in a headless Chromium, by the keyboard: console.py URL NAME PASSWORD CODE FOLDER.

Talks to the browser through its debugging pipe; prints what it saw as JSON, leaves screenshots in FOLDER.
"""

import base64, itertools, json, os, subprocess, sys, tempfile, time

URL, NAME, PASSWORD, CODE, FOLDER = sys.argv[1:]
OPTIONS = """--headless --no-sandbox --disable-gpu --no-first-run --disable-sync --disable-background-networking
--disable-component-update --disable-dev-shm-usage --remote-debugging-pipe about:blank""".split()


class Browser:
    def __init__(self, profile):
        from_us, to_browser = os.pipe()
        to_us, from_browser = os.pipe()

        def pipes():  # the browser reads 3 and writes 4
            reading, writing = os.dup(from_us), os.dup(from_browser)
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        command = ["chromium", f"--user-data-dir={profile}", *OPTIONS]
        self.process = subprocess.Popen(
            command, preexec_fn=pipes, close_fds=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(from_browser)
        self.out, self.back = os.fdopen(to_browser, "wb", 0), os.fdopen(to_us, "rb")
        self.ids, self.session, self.complaints, self.elsewhere = itertools.count(1), None, [], False
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def read(self):
        message = bytearray()
        while (byte := self.back.read(1)) not in (b"\0", b""):
            message += byte
        return json.loads(message)

    def ask(self, method, **params):
        number = next(self.ids)
        request = {"id": number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        self.out.write(json.dumps(request).encode() + b"\0")
        while True:
            message = self.read()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.note(message)

    def note(self, message):
        kind, params = message.get("method"), message.get("params", {})
        if kind == "Page.javascriptDialogOpening":
            answer = {"id": next(self.ids), "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self.out.write(json.dumps({**answer, "sessionId": self.session}).encode() + b"\0")
        if self.elsewhere:
            return
        if kind == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])

    def eval(self, expression):
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression):
        deadline = time.monotonic() + 40
        while not (value := self.eval(expression)):
            assert time.monotonic() < deadline, (expression, self.eval("document.body?.innerText"))
            time.sleep(0.1)
        return value

    def type(self, text):
        self.ask("Input.insertText", text=text)

    def press(self, key, code, text=""):
        key = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **key)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **key)

    def enter(self):
        self.press("Enter", 13, "\r")

    def tab(self):
        self.press("Tab", 9)

    def open(self, path):
        self.ask("Page.navigate", url=URL + path)
        self.until(f"location.href === {json.dumps(URL + path)} && document.readyState === 'complete'")

    def click(self, selector):
        """Later, so that a question of the page does not hold up the answer."""
        self.until(f"!!document.querySelector({json.dumps(selector)})")
        self.eval(f"setTimeout(() => document.querySelector({json.dumps(selector)}).click())")

    def size(self, width, height, scheme="light"):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, name, width, height, scheme):
        self.size(width, height, scheme)
        data = self.ask("Page.captureScreenshot", format="png")["data"]
        with open(os.path.join(FOLDER, name), "wb") as file:
            file.write(base64.b64decode(data))


UNNAMED = """[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]
    .filter((field) => !field.labels.length && !field.ariaLabel).map((field) => field.name)"""
TOKENLESS = """[...document.querySelectorAll('form')].filter((form) => !form.querySelector('[name=token]'))
    .map((form) => form.action)"""


def pages(browser, seen):
    """Every page at the width of a desk, of a phone, and in the dark."""
    for name in ("usage", "keys", "users", "bans", "audit", "chat"):
        browser.size(1200, 900)
        browser.open("/" + name)
        browser.picture(f"{name}.png", 1200, 900, "light")
        browser.picture(f"{name}-dark.png", 1200, 900, "dark")
        browser.picture(f"{name}-phone.png", 390, 900, "light")
        if browser.eval("document.documentElement.scrollWidth > innerWidth"):
            seen["wide"].append(name)
        seen["strange"] += browser.eval(UNNAMED) + browser.eval(TOKENLESS)
    browser.size(1200, 900)


def sign_in(browser, seen):
    browser.ask("Page.navigate", url=URL)
    seen["focused"] = browser.until("document.activeElement?.id")
    browser.picture("sign-in.png", 800, 900, "light")
    for text in (NAME, PASSWORD, CODE):
        browser.type(text)
        browser.tab()
    browser.enter()
    browser.until("document.querySelector('#rate')?.textContent > '' && document.querySelector('#rate').textContent != '–'")
    cookies = browser.ask("Network.getCookies")["cookies"]
    own = next(cookie for cookie in cookies if cookie["name"] == "ogw_console")
    seen["cookie"] = [own["httpOnly"], own["secure"], own["sameSite"]]


def now(browser, seen):
    time.sleep(3)  # a few points of the chart
    for name in ("state", "refusals", "certificate", "events"):
        selector = "#refusals td" if name == "refusals" else f"#{name}"
        seen[name] = browser.until(f"document.querySelector('{selector}').textContent")
    browser.picture("light.png", 1200, 1000, "light")
    browser.picture("dark.png", 1200, 1000, "dark")
    browser.picture("phone.png", 390, 1200, "light")
    if browser.eval("document.documentElement.scrollWidth > innerWidth"):
        seen["wide"].append("now")


def act(browser, seen):
    browser.open("/keys")
    browser.eval("document.querySelector('details').open = true; document.querySelector('input[name=id]').focus()")
    browser.type("Made in a browser")
    seen["role"] = browser.eval("document.querySelector('select[name=role]').value")
    browser.enter()
    seen["key"] = browser.until("document.querySelector('output.key')?.textContent")
    browser.picture("made.png", 800, 500, "dark")
    browser.size(1200, 900)
    browser.open("/users")
    browser.click("[aria-label='lock ana']")
    seen["locked"] = browser.until("document.querySelector('[aria-label=\"unlock ana\"]')?.closest('tr').textContent")
    browser.open("/bans")
    browser.click("[aria-label='lift 192.0.2.7']")
    lifted = "[...document.querySelectorAll('.hint')].find((hint) => hint.textContent.startsWith('Nobody'))?.textContent"
    seen["lifted"] = browser.until(lifted)


def chat(browser, seen):
    browser.open("/chat")
    browser.eval("document.querySelector('textarea').focus()")
    browser.type("hello")
    browser.tab()
    browser.enter()
    browser.until("document.querySelector('#figures').textContent.includes('tokens in')")
    for name in ("answer", "figures"):
        seen[name] = browser.eval(f"document.querySelector('#{name}').textContent")
    browser.picture("chat-answer.png", 1200, 700, "light")


def by_the_issuer(browser, seen):
    browser.click("header form button")
    browser.until("!!document.querySelector('a.broad')")
    browser.picture("sign-in-issuer.png", 800, 900, "dark")
    browser.elsewhere = True
    browser.click("a.broad")
    browser.until("!!document.querySelector('input[name=login]')")
    browser.eval("document.querySelector('input[name=login]').focus()")
    browser.type("boss")
    browser.tab()
    browser.type("x")
    browser.enter()
    browser.until("!!document.querySelector('input[value=consent]')")
    browser.click("button[type=submit]")
    browser.elsewhere = False
    seen["outsider"] = browser.until("document.querySelector('.who')?.textContent")
    seen["end"] = browser.eval("location.pathname")


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    browser = Browser(profile)
    seen = {"wide": [], "strange": []}
    try:
        for step in (sign_in, now, pages, act, chat, by_the_issuer):
            step(browser, seen)
    finally:
        browser.process.kill()
        browser.process.wait()
    seen["complaints"] = browser.complaints
    print(json.dumps(seen))
