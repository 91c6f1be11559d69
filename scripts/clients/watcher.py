"""What the watchers in Python share: their arguments, what they print, and how they say yes."""

import json
import sys
import threading

import httpx

session = sys.argv[1]
headers = {"Authorization": f"Bearer {sys.argv[2]}"} if len(sys.argv) > 2 else {}
client = httpx.Client(headers=headers, timeout=httpx.Timeout(60, read=None))


def show(id, event, data):
    """Prints an event as the library gave it, one line of JSON, and says yes to what it asks."""
    print(json.dumps({"id": id, "event": event, "data": data}), flush=True)
    if event == "approval_required":
        # The answer comes when the turn ends or asks again.
        threading.Thread(target=approve, args=[json.loads(data)]).start()


def approve(asked):
    answer = {"call_id": asked["call_id"], "command": asked["command"], "decision": "allow_once"}
    client.post(f"{session}/approve", json=answer).raise_for_status()
