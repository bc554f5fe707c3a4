const http = require('http');
const net = require('net');

// One command of the store's protocol, its answer as one or many texts.
function ask(...words) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(6379, process.env.STORE);
    let answer = '';
    socket.on('error', reject);
    socket.on('data', data => {
      answer += data;
      const lines = answer.split('\r\n').slice(0, -1);
      if (lines.length < 1) return;
      const many = lines[0][0] === '*' ? 1 + 2 * Number(lines[0].slice(1)) : 1;
      if (lines.length < many) return;
      socket.end();
      resolve(many === 1 ? [lines[0].slice(1)] : lines.slice(1, many).filter((_, i) => i % 2 === 1));
    });
    socket.write(`*${words.length}\r\n` + words.map(w => `$${Buffer.byteLength(w)}\r\n${w}\r\n`).join(''));
  });
}

http.createServer(async (request, response) => {
  try {
    if (request.method === 'POST') {
      let body = '';
      for await (const chunk of request) body += chunk;
      for (const job of body.split('\n').filter(line => line)) await ask('RPUSH', 'jobs', job);
      response.end('queued\n');
    } else {
      const results = await ask('LRANGE', 'results', '0', '-1');
      response.end(results[0] === '0' ? '' : results.sort().join('\n') + '\n');
    }
  } catch (error) {
    response.statusCode = 503;
    response.end(`${error}\n`);
  }
}).listen(8000);
