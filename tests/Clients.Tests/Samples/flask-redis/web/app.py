import os

from flask import Flask
from redis import Redis

app = Flask(__name__)
store = Redis(host=os.environ["REDIS_HOST"])


@app.get("/")
def count():
    return f"{os.environ['GREETING']}: {store.incr('visits')}\n"
