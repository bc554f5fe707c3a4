import os

import psycopg2
from flask import Flask, request

app = Flask(__name__)


def ask(text, *values):
    with open("/run/secrets/db-password") as file:
        connection = psycopg2.connect(os.environ["DATABASE"], password=file.read().strip())
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@app.get("/health")
def health():
    return str(ask("SELECT 1"))


@app.get("/")
def notes():
    return f"version {os.environ['VERSION']}\n" + "".join(f"{id} {words}\n" for id, words in ask("SELECT id, words FROM notes ORDER BY id"))


@app.post("/")
def add():
    ask("INSERT INTO notes (words) VALUES (%s)", request.get_data(as_text=True))
    return "noted\n"
