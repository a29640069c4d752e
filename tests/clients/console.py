"""Uses the console in a headless Chromium, by the keyboard: console.py URL KEY FOLDER.

Talks to the browser through its debugging pipe; prints what it saw as JSON, leaves screenshots in FOLDER.
"""

import base64, itertools, json, os, subprocess, sys, tempfile, time

URL, KEY, FOLDER = sys.argv[1:]
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
        self.ids, self.session, self.complaints = itertools.count(1), None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
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

    def enter(self):
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **key)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **key)

    def picture(self, name, width, height, scheme):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        data = self.ask("Page.captureScreenshot", format="png")["data"]
        with open(os.path.join(FOLDER, name), "wb") as file:
            file.write(base64.b64decode(data))


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    browser = Browser(profile)
    seen = {}
    try:
        browser.ask("Page.navigate", url=URL)
        seen["focused"] = browser.until("document.activeElement?.id")
        browser.picture("sign-in.png", 800, 500, "light")
        browser.type(KEY)
        browser.enter()
        browser.until("document.querySelector('#rate')?.textContent > '' && document.querySelector('#rate').textContent != '–'")
        browser.eval("document.querySelector('details').open = true; document.querySelector('input[name=name]').focus()")
        browser.type("Made in a browser")
        time.sleep(3)
        for name in ("state", "refusals", "certificate", "events"):
            selector = "#refusals td" if name == "refusals" else f"#{name}"
            seen[name] = browser.until(f"document.querySelector('{selector}').textContent")
        browser.picture("light.png", 1200, 1000, "light")
        browser.picture("dark.png", 1200, 1000, "dark")
        browser.picture("phone.png", 390, 1200, "light")
        seen["role"] = browser.eval("document.querySelector('select[name=role]').value")
        seen["wide"] = browser.eval("document.documentElement.scrollWidth > innerWidth")
        browser.enter()
        seen["key"] = browser.until("document.querySelector('output.key')?.textContent")
        browser.picture("made.png", 800, 500, "dark")
    finally:
        browser.process.kill()
        browser.process.wait()
    seen["complaints"] = browser.complaints
    print(json.dumps(seen))
