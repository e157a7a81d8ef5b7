"""Faults that a deployment's address asks for: `/fault/NAME` as two segments of the path, before the
provider's own path or within it. Nothing that a caller of a gateway sends can choose one.

  http://HOST:PORT/groq/v1/fault/cut_mid_stream
  http://HOST:PORT/anthropic/fault/status_529,first
  http://HOST:PORT/gemini/fault/drip,ms=2,row=a7/v1beta

Options after a comma: `first`: of all requests that are sent to this very address, up to the name and its
options, only the first since the last reset has the fault, the others are answered as ever. `ms=N`: a pace.
`row=LABEL`: nothing but another address. A refused request has not had its fault yet.

Keys, refusals and windows are checked first. Embeddings have the faults that need no chat answer and are
answered normally under the others.

  slow_first_byte      nothing until the client leaves, at most 120 s; with ms=N the right answer after N ms
  drip                 the right answer, one byte every 20 ms (ms=N)
  hang_mid_stream      half of the events, then nothing; plain: half of the bytes
  cut_before_headers   the connection closes without a byte
  cut_mid_headers      it closes in the middle of the headers
  cut_mid_body         it closes after half of the bytes; plain: under the Content-Length of the whole
  cut_mid_stream       it closes after half of the events; plain: half of the bytes, under no Content-Length
  length_short         Content-Length is half of the body's
  length_long          Content-Length is 100 more than the body's
  redirect_301, redirect_307
                       to /PROVIDER/redirected, a 404 that is on record when it is called
  status_401, _403, _404, _408, _409, _500, _502, _503, _529
                       that status, with canaries in the provider's error shape
  status_429           with `Retry-After: 7`; _mad: of a billion, _negative: of -5, _date: a date
  canary_error         500, canaries in every place of the error and in headers
  ok_error             200 with an error object; stream: as the only event
  ok_html              200 with an HTML page
  ok_empty             200 with nothing
  ok_text              200 with a line of plain text
  wrong_type           the right answer under text/plain
  header_flood         the right answer under 300 more headers of 100 bytes
  gzip_bomb            10 MiB of zeros under Content-Encoding gzip
  gzip_good            the right answer under Content-Encoding gzip, asked for or not
  end_in_utf8          a good end in the middle of a character; stream: in the middle of an event
  sse_cr, sse_crlf     these line ends; plain, as for all sse_ but the last: answered normally
  sse_bom              a byte order mark first
  sse_comments         comments between all events
  sse_multiline        each event's data over several lines
  sse_no_space         no blank after `data:`
  sse_1mb_line         all of the text in one event of 1 MiB; plain: a text of 1 MiB
  clean_end            a good end without finish reason and end mark; plain: no finish reason
  usage_missing        no usage anywhere
  usage_negative       counts below zero
  usage_absurd         counts of a quadrillion
  usage_float          counts with a fraction
  usage_every_chunk    a growing usage in every event; Gemini, and plain: answered normally
  usage_after_done     the only usage after the end mark (Gemini: the finish reason); plain: normally
  two_usages           a usage thrice too high, then the right one; plain: one JSON name twice
  same_101             101 pieces of the same text
  tools_out_of_order   two calls in turns, the second first (Gemini: the second whole, then the first);
                       plain: two calls. Of the functions on offer, otherwise of two that were not
  unknown_finish       a finish reason that nobody knows
  finish_error         `error`; Gemini MALFORMED_FUNCTION_CALL, Anthropic none
  choices_empty        no choice, candidate or content at all; Anthropic: no stop reason either
  wrong_model_name     a canary for the model's name
"""
