#!/usr/bin/env python3
"""A gateway between Duragent and IRC, in Python's standard library alone (3.9 or later).

    gateways:
      external:
        - name: irc
          command: ./irc.py
          args: [--server, irc.example.net, --tls, --nick, ada, --channel, "#ada"]
          env: {IRC_PASSWORD: "${IRC_PASSWORD}"}

Duragent writes commands to its standard input, and it writes events to its standard output: one JSON object
a line. Its standard error goes to the log. docs/gateways.md tells the protocol, and this file is the example.

- A channel is a chat of type `group`, named by its name. A private chat is named `nick!user@host`, or
  `nick!account:NAME` where the person is logged in to the network's services.
- A nick is no identity: anybody can take it. `sender.id` is `account:NAME` of who is logged in, which the server
  vouches for, and else `nick!user@host`, which is good for chatting at most: from there `/approve` and `/deny` are
  refused here. Nor does a private answer go to somebody else who took the nick meanwhile.
- IRC confirms nothing. So a `PING` follows each message: when its answer is there, the server has read what stood before
  it, and has said what it would not take. Only then the message is confirmed to Duragent.
"""

import argparse
import asyncio
import base64
import collections
import datetime
import json
import os
import random
import re
import ssl
import sys
import time
import uuid

LINE_BYTES = 512  # With the CR LF, and with the prefix that the server puts before it for the others:
PREFIX_BYTES = len(":!@ ") + 20 + 64  # a user and a host as long as servers let them be, and the nick.
BURST_LINES = 5  # After which a line has to wait for its turn: servers throw out who says more.
SILENCE_SECONDS = 90  # After which the server is asked for a sign of life; after twice that it is gone.
ANSWER_SECONDS = 30
ACCOUNT_SECONDS = 60  # For which an account is remembered where the server does not say it with each message.
BACK_OFF_SECONDS = 60
TIDY_SECONDS = 60
CAPABILITIES = {"account-tag", "message-tags", "sasl", "server-time"}
COMMANDS = "start|help|status|stop|reset|approve|deny"
NO_PROOF = "Only who is logged in to this network's services may decide here: a nick proves nothing."


class Refused(Exception):
    """What cannot be done, and why: an error code of the protocol, and words."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def say(kind, **fields):
    """Writes an event; a field that is None is left out."""
    fields = {name: value for name, value in fields.items() if value is not None}
    print(json.dumps({"type": kind, **fields}), flush=True)


def log(text):
    print(text, file=sys.stderr, flush=True)


def fold(name):
    """Names on IRC are the same in capitals."""
    return name.translate({upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)})


def parse(line):
    """A line of the server: its tags, who sent it, the command, its parameters."""
    tags, source = {}, ""
    if line.startswith("@"):
        text, _, line = line[1:].partition(" ")
        for tag in text.split(";"):
            name, _, value = tag.partition("=")
            tags[name] = re.sub(r"\\(.?)", lambda found: {":": ";", "s": " "}.get(found[1], found[1]), value)
    if line.startswith(":"):
        source, _, line = line[1:].partition(" ")
    middle, has_trailing, trailing = line.partition(" :")
    words = middle.split() or [""]
    return tags, source, words[0].upper(), words[1:] + ([trailing] if has_trailing else [])


def plain(text):
    """Without colours and the like, and without any other control character, all of which mean something to IRC."""
    return re.sub(r"\x03(\d{1,2}(,\d{1,2})?)?|[\x00-\x1f\x7f-\x9f]", "", text)


def lines_of(text, room):
    """A text as lines of at most `room` bytes; they end between words where there are some, never inside a character."""
    lines = []
    for line in text.encode(errors="replace").decode().splitlines():
        line = plain(line.expandtabs(4)).rstrip()
        while len(line.encode()) > room:
            # A character that the cut goes through is left to the next line.
            head = line.encode()[:room].decode(errors="ignore")
            space = head.rfind(" ")
            cut = space if space > len(head) // 2 else len(head)
            lines.append(line[:cut].rstrip())
            line = line[cut:].lstrip()
        lines.append(line)
    # IRC has no empty lines.
    return [line for line in lines if line]


class Pace:
    """Lets lines through as fast as servers like; who waits gets the turn in order, so no chat waits for a long answer."""

    def __init__(self, line_seconds):
        self.line_seconds = line_seconds
        self.lock = asyncio.Lock()
        self.due = 0.0

    async def turn(self):
        async with self.lock:
            now = time.monotonic()
            self.due = max(self.due, now - BURST_LINES * self.line_seconds) + self.line_seconds
            await asyncio.sleep(max(0.0, self.due - now))


class Irc:
    def __init__(self, options):
        self.options = options
        self.nick = options.nick
        self.writer = None
        self.is_welcome = False  # Registered with the server: what is said arrives.
        self.capabilities = set()
        self.joined = set()
        self.accounts = {}  # nick!user@host: the account, and until when that is believed.
        self.found = {}  # What a WHOIS that is under way has told so far, by nick.
        self.refusals = {}  # What the server would not take of the messages under way, by target.
        self.waits = {}  # Answers of the server that somebody waits for.
        self.pace = Pace(options.line_seconds)
        self.arrivals = asyncio.Lock()  # One after another: in order, although some wait for an account.
        self.departures = collections.defaultdict(asyncio.Lock)  # The same, a chat.
        self.tasks = set()
        self.sends = {}  # Messages under way, by chat and text.
        self.is_leaving = False
        self.started = time.monotonic()

    # --- the connection ---

    async def stay_connected(self):
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self.connect()
            except Exception as error:
                if self.is_leaving:
                    return
                code = error.code if isinstance(error, Refused) else "not_connected"
                message = f"{self.options.server}: {str(error) or type(error).__name__}"
                say("error", code=code, message=message, fatal=False)
            finally:
                self.disconnected()
            # A server that throws us out at once is a failure like one that is not there.
            failures = 0 if time.monotonic() - began > BACK_OFF_SECONDS else min(failures + 1, 6)
            await asyncio.sleep(min(2**failures, BACK_OFF_SECONDS) * random.uniform(0.3, 0.9))

    async def connect(self):
        """Stays until the connection ends, which is an error."""
        options = self.options
        context = ssl.create_default_context(cafile=options.ca_file) if options.tls else None
        opening = asyncio.open_connection(options.server, options.port, ssl=context)
        reader, self.writer = await asyncio.wait_for(opening, ANSWER_SECONDS)
        self.nick, self.nicks_tried = options.nick, 0
        if options.server_password:
            self.write(f"PASS :{options.server_password}")
        self.write("CAP LS 302")
        self.write(f"NICK {self.nick}")
        self.write(f"USER {re.sub('[^a-z0-9]', '', fold(self.nick)) or 'bot'} 0 * :Duragent")
        is_asked = False
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), SILENCE_SECONDS)
            except asyncio.TimeoutError:
                if is_asked:
                    raise EOFError("the server says nothing any more") from None
                is_asked = True
                self.write("PING :alive")
                continue
            if not line:
                raise EOFError("the server closed the connection")
            is_asked = False
            try:
                line = line.decode()
            except UnicodeDecodeError:
                line = line.decode("latin-1")
            self.handle(*parse(line.rstrip("\r\n")))
            if self.is_welcome and time.monotonic() > self.tidy_at:
                self.tidy()

    def disconnected(self):
        self.is_welcome = False
        for known in (self.joined, self.accounts, self.found, self.capabilities):
            known.clear()
        for wait in self.waits.values():
            if not wait.done():
                wait.set_exception(Refused("not_connected", "the connection to the server was lost"))
        if self.writer:
            self.writer.close()
            self.writer = None

    def write(self, line):
        """What would end the line, and begin another command, is never let through."""
        if self.writer:
            self.writer.write(re.sub(r"[\r\n\0]", " ", line).encode(errors="replace") + b"\r\n")

    async def answer(self, key, line):
        """Says a line, and waits for what the server answers to it."""
        if not self.writer:
            raise Refused("not_connected", f"not connected to {self.options.server}")
        if key not in self.waits:
            self.waits[key] = asyncio.get_running_loop().create_future()
            self.write(line)
        wait = self.waits[key]
        try:
            return await asyncio.wait_for(asyncio.shield(wait), ANSWER_SECONDS)
        except asyncio.TimeoutError:
            raise Refused("platform_error", "the server does not answer") from None
        finally:
            if self.waits.get(key) is wait:
                del self.waits[key]

    def answered(self, key, value):
        wait = self.waits.get(key)
        if wait and not wait.done():
            wait.set_result(value)

    def tidy(self):
        """Takes the name and the channels that it has not yet; again now and then."""
        self.tidy_at = time.monotonic() + TIDY_SECONDS
        if fold(self.nick) != fold(self.options.nick):
            self.write(f"NICK {self.options.nick}")
        for channel in self.options.channel:
            if fold(channel) not in self.joined:
                self.write(f"JOIN {channel}")

    # --- from the server ---

    def handle(self, tags, source, command, params):
        nick = source.partition("!")[0]
        is_own = fold(nick) == fold(self.nick)
        is_persons = "!" in source and ":" not in nick and not is_own
        if command == "PRIVMSG" and is_persons and len(params) == 2:
            self.start(self.receive(tags, source, *params))
        elif command == "PING":
            self.write(f"PONG :{params[-1]}")
        elif command == "PONG":
            self.answered(("pong", params[-1]), None)
        elif command == "001":
            self.is_welcome, self.nick = True, params[0]
            log(f"connected to {self.options.server} as {self.nick}")
            if self.options.password and "sasl" not in self.capabilities:
                if self.options.nickserv:
                    self.write(f"PRIVMSG {self.options.nickserv} :IDENTIFY {self.options.password}")
                else:
                    say("error", code="unauthorized", message="no SASL here to log in with: see --nickserv", fatal=False)
            self.tidy()
        elif command == "JOIN" and is_own:
            self.joined.add(fold(params[0]))
            say("chat_state", chat_id=fold(params[0]), can_write=True, why="joined")
        elif command == "PART" and is_own:
            self.joined.discard(fold(params[0]))
        elif command == "KICK" and fold(params[1]) == fold(self.nick):
            self.joined.discard(fold(params[0]))
            say("chat_state", chat_id=fold(params[0]), can_write=False, why=f"kicked: {params[-1]}")
        elif command == "NICK" and is_own:
            self.nick = params[0]
        elif command == "CAP":
            self.negotiate(params)
        elif command == "AUTHENTICATE":
            login = f"\0{self.options.account}\0{self.options.password}"
            self.write(f"AUTHENTICATE {base64.b64encode(login.encode()).decode()}")
        elif command == "903":
            self.write("CAP END")
        elif command in ("464", "465", "902", "904", "905", "906", "908"):
            raise Refused("unauthorized", params[-1])
        elif command in ("432", "433", "436", "437"):
            if not self.is_welcome:
                self.take_another_nick(params[-1])
        elif command in ("311", "330", "318") and len(params) > 2:
            self.whois_told(command, fold(params[1]), params)
        elif re.fullmatch("[45]..", command) and len(params) > 2:
            if fold(params[1]) in self.refusals:
                self.refusals[fold(params[1])] = params[-1]
            elif params[1].startswith(("#", "&")):
                say("error", code="platform_error", message=f"{params[1]}: {params[-1]}", fatal=False)
        elif command == "ERROR":
            raise EOFError(params[-1])

    def take_another_nick(self, reason):
        self.nicks_tried += 1
        if self.nicks_tried > 5:
            raise Refused("unauthorized", f"{self.options.nick}: {reason}")
        # Nine letters are the most that some servers take.
        number = random.randrange(1000)
        self.nick = f"{self.options.nick}_" if self.nicks_tried == 1 else f"{self.options.nick[:6]}{number}"
        self.write(f"NICK {self.nick}")

    def negotiate(self, params):
        offered = {word.partition("=")[0] for word in params[-1].split()}
        if params[1] == "LS":
            self.capabilities |= offered & CAPABILITIES
            if not self.options.password:
                self.capabilities.discard("sasl")
            if params[2] != "*":
                wanted = " ".join(sorted(self.capabilities))
                self.write(f"CAP REQ :{wanted}" if wanted else "CAP END")
        elif params[1] == "ACK" and "sasl" in self.capabilities:
            self.write("AUTHENTICATE PLAIN")
        elif params[1] == "ACK":
            self.write("CAP END")
        elif params[1] == "NAK":
            self.capabilities.clear()
            self.write("CAP END")

    async def receive(self, tags, source, target, text):
        """Makes an event of what somebody said."""
        nick, _, user = source.partition("!")
        is_group = target.startswith(("#", "&"))
        if not is_group and fold(target) != fold(self.nick):
            return  # To all of the server, or to the operators of a channel.
        if text.startswith("\1"):
            # Of what clients say to one another only this is meant for people.
            if not text.startswith("\1ACTION "):
                return
            text = f"* {nick} {text[8:]}"
        text = plain(text).strip()
        addressed = re.match(rf"@?{re.escape(self.nick)}[:,]\s*", text, re.IGNORECASE)
        if addressed:
            text = text[addressed.end() :] or text
        if addressed or not is_group:
            # Clients keep lines that begin with "/" for themselves.
            text = re.sub(rf"^!({COMMANDS})\b", r"/\1", text, flags=re.IGNORECASE)
        is_decision = bool(re.match(r"/(approve|deny)\b", text, re.IGNORECASE))
        async with self.arrivals:
            account = await self.account_of(tags, source, is_fresh=is_decision)
            if is_decision and not account:
                log(f"{source} may not decide: not logged in")
                await self.pace.turn()
                self.write(f"PRIVMSG {target if is_group else nick} :{NO_PROOF}")
                return
            who = f"account:{account}" if account else user
            chat_id = fold(target) if is_group else f"{fold(nick)}!{who}"
            sender_id = who if account else f"{fold(nick)}!{user}"
            routing = {
                "channel": "irc",
                "chat_type": "group" if is_group else "dm",
                "chat_id": chat_id,
                "sender_id": sender_id,
                "nick": nick,
            }
            if account:
                routing["account"] = account
            say(
                "message_received",
                message_id=tags.get("msgid") or uuid.uuid4().hex,
                chat_id=chat_id,
                sender={"id": sender_id, "username": nick, "display_name": nick, "is_bot": "bot" in tags},
                content={"type": "text", "text": text},
                routing=routing,
                mentions_bot=bool(addressed),
                # Who is not verified never answers a question, whatever the list of approvers says.
                metadata={"verified": bool(account)},
                timestamp=tags.get("time") or datetime.datetime.now(datetime.timezone.utc).isoformat(),
            )

    # --- who is who ---

    async def account_of(self, tags, source, is_fresh):
        """The account that somebody is logged in to, or an empty text."""
        if "account-tag" in self.capabilities:
            return fold(tags.get("account", ""))
        account, until = self.accounts.get(source, ("", 0.0))
        if is_fresh or time.monotonic() > until:
            nick, _, user_and_host = source.partition("!")
            try:
                found = await self.whois(nick)
            except Refused:
                found = {}
            # Somebody else may have the nick by now.
            account = found.get("account", "") if found.get("user") == user_and_host else ""
            if len(self.accounts) > 1000:
                self.accounts.clear()
            self.accounts[source] = account, time.monotonic() + ACCOUNT_SECONDS
        return account

    async def whois(self, nick):
        await self.pace.turn()
        return await self.answer(("whois", fold(nick)), f"WHOIS {nick}")

    def whois_told(self, numeric, nick, params):
        found = self.found.setdefault(nick, {})
        if numeric == "311":
            found["user"] = f"{params[2]}@{params[3]}"
        elif numeric == "330":
            found["account"] = fold(params[2])
        else:
            self.answered(("whois", nick), self.found.pop(nick))

    # --- from Duragent ---

    async def carry_out(self, command):
        kind, request_id = command.get("type"), command.get("request_id")
        try:
            if kind == "ping":
                uptime = int(time.monotonic() - self.started)
                say("pong", request_id=request_id, uptime_seconds=uptime, connected=self.is_welcome)
            elif kind == "send_message":
                await self.send_once(command["chat_id"], command["content"])
                say("command_ok", request_id=request_id, message_id=uuid.uuid4().hex)
            elif request_id is not None:
                raise Refused("not_implemented", f"IRC has no {kind}")
        except Refused as error:
            say("command_error", request_id=request_id, code=error.code, message=str(error))
        except Exception as error:
            say("command_error", request_id=request_id, code="invalid_request", message=repr(error))

    async def send_once(self, chat_id, text):
        """Who says again what is under way, since he heard nothing of it for long, gets the same answer: it is said once."""
        key = chat_id, text
        if key not in self.sends:
            self.sends[key] = self.start(self.send_in_order(chat_id, text))
            self.sends[key].add_done_callback(lambda _: self.sends.pop(key))
        await asyncio.shield(self.sends[key])

    async def send_in_order(self, chat_id, text):
        async with self.departures[fold(chat_id.partition("!")[0])]:
            await self.send(chat_id, text)

    async def send(self, chat_id, text):
        target, _, who = chat_id.partition("!")
        is_name = re.fullmatch(r"[#&]?[^\s\x00-\x1f\x7f,:@#&$*?!][^\s\x00-\x1f\x7f,]*", target)
        if not is_name or len(target.encode()) > 200:
            raise Refused("invalid_request", f"{chat_id!r} is neither a channel nor somebody")
        room = LINE_BYTES - PREFIX_BYTES - len(f"{self.nick}PRIVMSG {target} :\r\n".encode())
        lines = lines_of(text, room)
        if not lines:
            raise Refused("invalid_request", "nothing that IRC can show")
        if not self.is_welcome:
            raise Refused("not_connected", f"not connected to {self.options.server}")
        if target.startswith(("#", "&")) and fold(target) not in self.joined:
            raise Refused("platform_error", f"not in {target}")
        connection, self.refusals[fold(target)] = self.writer, None
        try:
            if who:
                found = await self.whois(target)
                if who not in (found.get("user"), "account:" + found.get("account", "?")):
                    raise Refused("platform_error", f"{chat_id} is not here")
            for line in lines:
                await self.pace.turn()
                if self.writer is not connection:
                    raise Refused("not_connected", "the connection to the server was lost")
                self.write(f"PRIVMSG {target} :{line}")
            token = uuid.uuid4().hex
            await self.answer(("pong", token), f"PING :{token}")
            if self.refusals[fold(target)]:
                raise Refused("platform_error", f"{target}: {self.refusals[fold(target)]}")
        finally:
            del self.refusals[fold(target)]

    def start(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def leave(self, connection):
        """Lets what is under way come to its end, and says goodbye."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=3)
        self.is_leaving = True
        if self.writer:
            self.write("QUIT :Duragent was stopped")
            # The server closes when it has read all.
            await asyncio.wait([connection], timeout=1)
        connection.cancel()


def options():
    parser = argparse.ArgumentParser(description="A gateway between Duragent and IRC.")
    parser.add_argument("--server", required=True)
    parser.add_argument("--port", type=int, help="6667, or 6697 with --tls")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--ca-file", help="whose certificates are believed, if not those that the system knows")
    parser.add_argument("--nick", required=True)
    parser.add_argument("--channel", action="append", default=[], help="may be given several times")
    parser.add_argument("--account", help="to log in to with $IRC_PASSWORD; as the nick")
    parser.add_argument("--nickserv", help="who gets the password where the server has no SASL, like NickServ")
    parser.add_argument("--line-seconds", type=float, default=2.0, help="between lines, after five at once: 2")
    found = parser.parse_args()
    found.port = found.port or (6697 if found.tls else 6667)
    found.account = found.account or found.nick
    found.password = os.environ.pop("IRC_PASSWORD", "")
    found.server_password = os.environ.pop("IRC_SERVER_PASSWORD", "")
    is_here = found.server in ("localhost", "::1") or found.server.startswith("127.")
    if (found.password or found.server_password) and not found.tls and not is_here:
        parser.error("a password goes over TLS only: add --tls")
    for name in [found.nick, *found.channel]:
        if re.search(r"[\s,:\x00-\x1f]", name) or (name[:1] in "#&") == (name == found.nick):
            parser.error(f"{name!r} is no such name on IRC")
    return found


async def main():
    irc = Irc(options())
    say("ready", gateway="irc", version="v1alpha1", capabilities=[])
    loop, commands = asyncio.get_running_loop(), asyncio.StreamReader(limit=2**21)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    connection = loop.create_task(irc.stay_connected())
    # Without a line Duragent is gone.
    while line := await commands.readline():
        try:
            command = json.loads(line)
            kind = command["type"]
        except (ValueError, TypeError, KeyError):
            log(f"not a command: {line[:200]!r}")
            continue
        if kind == "shutdown":
            break
        irc.start(irc.carry_out(command))
    await irc.leave(connection)
    say("shutdown", reason="asked to")


if __name__ == "__main__":
    asyncio.run(main())
