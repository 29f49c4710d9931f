"""Threads of one process that race others for tasks: ``python racer.py URL TOKEN THREADS``, with the tasks' ids as JSON on standard input.

Each thread tries every task once, in an order of its own, and ends those that it gets. Writes task, attempt number and the verdict's HTTP
status of those that this process got (``won``), and the HTTP statuses of all claims.
"""

import json
import random
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import requests


def ask(send, address, body):
    """Ask until the database has an answer, as the pipeline does: 503 says that it has none just now."""
    while (answer := send(address, json=body, timeout=120)).status_code == 503:
        time.sleep(0.2)
    return answer


def race(url, token, tasks):
    won, statuses = [], []
    with requests.Session() as http:
        http.headers["Authorization"] = f"Token {token}"
        for task in random.sample(tasks, len(tasks)):
            identity = str(uuid.uuid4())  # with it the claim that is sent again is the same claim
            answer = ask(http.post, f"{url}/attempts", {"id": identity, "task": task, "after": 0, "worker": "racer"})
            statuses.append(answer.status_code)
            if answer.status_code == 201:
                attempt = answer.json()
                end = ask(http.patch, f"{url}/attempts/{attempt['id']}", {"status": "Complete"})
                won.append([task, attempt["number"], end.status_code])
    return won, statuses


if __name__ == "__main__":
    url, token, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tasks = json.load(sys.stdin)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda _: race(url, token, tasks), range(threads)))
    json.dump({"won": [each for won, _ in found for each in won], "statuses": [each for _, all_ in found for each in all_]}, sys.stdout)
