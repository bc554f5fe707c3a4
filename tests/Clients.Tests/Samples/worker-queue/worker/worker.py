import os
import time

from redis import Redis
from redis.exceptions import ConnectionError

print("ready", flush=True)
while True:
    try:
        store = Redis(host=os.environ["STORE"])
        while True:
            _, job = store.blpop("jobs")
            number = int(job)
            store.rpush("results", f"{number} squared is {number * number}")
            print(f"did {number}", flush=True)
    except ConnectionError:
        time.sleep(0.1)  # the store restarts
