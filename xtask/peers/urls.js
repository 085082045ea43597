// How Node reads the target of a request: the WHATWG parser, the older one, and the decoding of routers.
//
// Usage: urls.js PORT. Answers every request with one line for each reading: the path and the query, in hexadecimal.
'use strict';

const http = require('node:http');
const legacy = require('node:url');
const querystring = require('node:querystring');

const hex = (text) => Buffer.from(text, 'utf8').toString('hex');
const tried = (read) => {
  try {
    return [read()];
  } catch {
    return [];
  }
};
const pairs = (entries) => [...entries].map(([name, value]) => `${name}=${value}`).join('&');

http
  .createServer((request, response) => {
    const readings = [];
    for (const url of tried(() => new URL(request.url, 'http://h'))) {
      const query = url.search.slice(1);
      readings.push([url.pathname, query]);
      for (const path of tried(() => decodeURIComponent(url.pathname))) {
        readings.push([path, pairs(url.searchParams)]);
        for (const again of tried(() => new URL(path, 'http://h'))) {
          for (const twice of tried(() => decodeURIComponent(again.pathname))) {
            // After decoding, the text behind a `?` is read as the query.
            readings.push([twice, again.search ? again.search.slice(1) : query]);
          }
        }
        for (const twice of tried(() => decodeURIComponent(path))) readings.push([twice, query]);
      }
    }
    for (const url of tried(() => legacy.parse(request.url))) {
      readings.push([url.pathname ?? '/', pairs(Object.entries(querystring.parse(url.query ?? '')))]);
    }
    const lines = readings.map(([path, query]) => `${hex(path)} ${hex(query)}`);
    response.end(lines.join('\n'));
  })
  .listen(Number(process.argv[2]), '127.0.0.1');
