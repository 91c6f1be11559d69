"""Says one thing by `POST …/stream` with httpx-sse, and comes back to `GET …/events` if it is cut off.

Usage: follow_httpx_sse.py SESSION_URL MESSAGE. It shows the same as the watchers, and ends with `done`.
"""

import sys
import time

import httpx
from httpx_sse import connect_sse

message = sys.argv.pop()
from watcher import client, session, show

request = {"method": "POST", "url": f"{session}/stream", "json": {"content": message}}
while True:
    try:
        with connect_sse(client, **request) as source:
            for event in source.iter_sse():
                show(event.id, event.event, event.data)
                resume = {"Last-Event-ID": event.id}
                request = {"method": "GET", "url": f"{session}/events", "headers": resume}
                if event.event == "done":
                    sys.exit()
    except httpx.HTTPError:
        time.sleep(0.1)
