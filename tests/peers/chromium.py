"""
A headless Chromium, led over its DevTools protocol with nothing but aiohttp.

It keeps what a test wants to know of a page: what its console said, what it asked for, and what
its policy stopped.
"""

import asyncio
import base64
import contextlib
import json
import re

import aiohttp

BLANK = "about:blank"
FLAGS = (
    "--headless",
    "--no-sandbox",  # CI may be root, whom Chromium gives no sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
KEYS = {"Escape": 27, "Enter": 13, "Tab": 9, "Home": 36, "End": 35, "/": 191}
KEYS |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


@contextlib.asynccontextmanager
async def chromium(path, folder):
    """A Chromium at *path* with its profile in *folder*; gives a function that opens a page."""
    process = await asyncio.create_subprocess_exec(
        path, *FLAGS, f"--user-data-dir={folder}", BLANK, stderr=asyncio.subprocess.PIPE
    )
    try:
        address = await asyncio.wait_for(_address_of(process), 60)
        drain = asyncio.ensure_future(process.stderr.read())
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(address, max_msg_size=2**28) as socket:
                connection = Connection(socket)
                try:
                    yield connection.open
                    await connection.send("Browser.close")
                finally:
                    connection.close()
        await drain
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _address_of(process):
    while line := await process.stderr.readline():
        if found := re.search(rb"DevTools listening on (ws://\S+)", line):
            return found[1].decode()
    raise AssertionError("Chromium ended before it listened")


class Connection:
    """Commands and events of all pages, over one socket."""

    def __init__(self, socket):
        self._socket = socket
        self._answers = {}
        self._pages = {}
        self._reader = asyncio.ensure_future(self._read())

    def close(self):
        self._reader.cancel()

    async def send(self, method, session=None, **params):
        number = len(self._answers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": params}
        await self._socket.send_json(command | ({"sessionId": session} if session else {}))
        return await asyncio.wait_for(answer, 60)

    async def open(self, url, **options):
        """A page that has loaded *url*."""
        target = await self.send("Target.createTarget", url=BLANK)
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        await page.load(url, **options)
        return page

    async def _read(self):
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._resolve(told)
            elif page := self._pages.get(told.get("sessionId")):
                page.hear(told["method"], told["params"])

    def _resolve(self, told):
        answer = self._answers[told["id"]]
        if "error" in told:
            answer.set_exception(AssertionError(told["error"]))
        else:
            answer.set_result(told["result"])


class Page:
    """One page: what it is told to do, and what it was heard to do."""

    def __init__(self, connection, session):
        self._connection = connection
        self._session = session
        self._navigated = False
        self._loaded = asyncio.Event()
        self.complaints = []
        self.requests = []

    async def send(self, method, **params):
        return await self._connection.send(method, self._session, **params)

    def hear(self, method, params):
        match method:
            case "Page.frameNavigated" if params["frame"]["url"] != BLANK:
                self._navigated = True
            case "Page.loadEventFired" if self._navigated:  # else it is that of the blank page
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.complaints.append((method, params))
            case "Audits.issueAdded":
                self.complaints.append((method, params["issue"]["code"]))

    async def load(self, url, *, width=1280, height=900, dark=False, mobile=False, scripts=True):
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            await self.send(f"{domain}.enable")
        await self.send("Performance.enable", timeDomain="threadTicks")
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        await self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        await self.send("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), 60)

    async def ask(self, expression):
        """The value of *expression* in the page."""
        told = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, expression):
        """Wait until *expression* holds in the page, and return its value."""
        for _ in range(600):
            if value := await self.ask(expression):
                return value
            await asyncio.sleep(0.05)
        raise AssertionError(f"never so: {expression}")

    async def hears(self, complaint, count):
        """Wait until *complaint* was heard so often; no more may follow it."""
        heard = 0
        for _ in range(600):
            heard = [what for what, _ in self.complaints].count(complaint)
            if heard >= count:
                break
            await asyncio.sleep(0.05)
        assert heard == count, self.complaints

    async def work(self):
        """Seconds that the page has worked, not counting those that others had the machine."""
        told = await self.send("Performance.getMetrics")
        return {it["name"]: it["value"] for it in told["metrics"]}["TaskDuration"]

    async def press(self, *keys, modifiers=0):
        """Press *keys*: by name, or one character each."""
        for key in keys:
            code = KEYS.get(key, 0)
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            await self.send(
                "Input.dispatchKeyEvent",
                type="keyDown" if text else "rawKeyDown",
                key=key,
                code=key if len(key) > 1 else "",
                windowsVirtualKeyCode=code,
                text=text,
                modifiers=modifiers,
            )
            await self.send(
                "Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code
            )

    async def click(self, selector):
        """Click the middle of what *selector* finds, once it is in sight, on top, and at rest."""
        x, y = await self.until(
            f"(async () => {{const it = document.querySelector({selector!r});"
            "const frame = () => new Promise(requestAnimationFrame);"
            "const middle = () => {const box = it.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]};"
            "it.scrollIntoView({block: 'nearest', behavior: 'instant'});"
            "await frame(); const before = middle(); await frame(); await frame();"
            "const [x, y] = middle();"
            "const rests = before[0] === x && before[1] === y;"
            "return rests && it.contains(document.elementFromPoint(x, y)) ? [x, y] : null})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def picture(self, path, *, whole=False):
        """Take a screenshot to *path*: what is in sight, or the *whole* page."""
        told = await self.send("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        path.write_bytes(base64.b64decode(told["data"]))
