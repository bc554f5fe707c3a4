<?php
$book = new SQLite3('/var/lib/book/book.db');
$book->exec('CREATE TABLE IF NOT EXISTS guests (name TEXT)');
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $line = $book->prepare('INSERT INTO guests VALUES (?)');
    $line->bindValue(1, file_get_contents('php://input'));
    $line->execute();
}
echo getenv('TITLE'), ":\n";
$guests = $book->query('SELECT name FROM guests ORDER BY rowid');
while ($guest = $guests->fetchArray())
    echo $guest['name'], "\n";
