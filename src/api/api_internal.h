/*
 * What the files of this room share: the output of a streaming command, chunks of input lines, and
 * the commands that the training room does not have.
 */
#ifndef CLOZE_API_API_INTERNAL_H
#define CLOZE_API_API_INTERNAL_H

#include "prompt/line_reader.h"
#include "text/tokenizer.h"
#include "train/options.h"

/* Where a streaming command writes whole lines. */
typedef struct output {
    cloze_write write;
    void *user;
} output;

/* Hands text[0..n) over; a refusal is ERR_IO. */
cloze_status output_put(const output *out, const char *text, size_t n, cloze_error *err);
/* The same with b, which is cleared; a failed buffer is ERR_MEMORY. */
cloze_status output_flush(const output *out, buf *b, cloze_error *err);

/* Lines of input, as they are (a tab is text); storage that is used again. */
typedef struct line_chunk {
    buf text;           /* all lines, each with a NUL behind */
    const char **lines; /* (n) into text */
    size_t *lens;       /* (n) bytes */
    size_t n, max_lines;
    int64_t first_line; /* number of lines[0] in its source, from 1 */
    bool at_end;        /* the source is used up */
} line_chunk;

cloze_status line_chunk_init(line_chunk *k, size_t max_lines, cloze_error *err);
void line_chunk_deinit(line_chunk *k);
/* The next lines of r: at most max_lines or a few megabytes, and fewer when no more input is
 * waiting. ERR_INTERRUPTED while it waits for the first one. An error leaves the lines before it
 * in the chunk. */
cloze_status line_chunk_read(line_chunk *k, line_reader *r, const cloze_callbacks *callbacks,
                             cloze_error *err);

/* ERR_USAGE unless --model was given. */
cloze_status api_need_model(const options *o, const char *what, cloze_error *err);
/* The directory (mem_free) and the tokenizer of --model. */
cloze_status api_open_tokenizer(const options *o, char **dir, tokenizer **tok, cloze_error *err);

cloze_status tokenize_run(const options *o, const cloze_callbacks *callbacks, const output *out,
                          cloze_error *err);
cloze_status fill_run(const options *o, const cloze_callbacks *callbacks, const output *out,
                      cloze_error *err);
cloze_status inspect_run(const options *o, const cloze_callbacks *callbacks, const output *out,
                         cloze_error *err);
/* The parts of inspect. */
cloze_status inspect_model(const char *dir, const tokenizer *tok, bool json, buf *text,
                           cloze_error *err);
cloze_status inspect_forecast(const options *o, const cloze_callbacks *callbacks, const char *dir,
                              buf *text, cloze_error *err);
cloze_status inspect_prompt(const options *o, const char *dir, const tokenizer *tok, buf *text,
                            cloze_error *err);

/* Columns for people: text[0..n) padded with blanks to `width` columns of a terminal (wide
 * characters count two). */
void text_pad(buf *b, const char *text, size_t n, int width);
void text_count(buf *b, int64_t value); /* 1234567 as 1,234,567 */

#endif
