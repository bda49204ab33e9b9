/* Reading for prediction: one example for each line, in constant memory. */
#include <string.h>

#include "base/mem.h"
#include "prompt/dataset.h"
#include "prompt/record_reader.h"

struct dataset_stream {
    record_reader reader;
    buf strings; /* text and pair of the current example, each with a NUL behind */
};

cloze_status dataset_stream_open(const char *path, const dataset_options *opts,
                                 dataset_stream **out, cloze_error *err) {
    dataset_options options = opts ? *opts : (dataset_options){0};
    dataset_stream *stream;
    *out = NULL;
    options.labelling = DATASET_LABELS_NONE;
    MEM_NEW(err, stream, 1);
    buf_init(&stream->strings, LINE_READER_MAX * 4);
    cloze_status status =
        record_reader_open(&stream->reader, path, NULL, 0, path, &options, NULL, err);
    if (status != CLOZE_OK) {
        mem_free(stream);
        return status;
    }
    *out = stream;
    return CLOZE_OK;
}

cloze_status dataset_stream_next(dataset_stream *stream, example *out, bool *done,
                                 cloze_error *err) {
    record rec;
    buf *strings = &stream->strings;
    CLOZE_TRY(record_reader_next(&stream->reader, &rec, done, err));
    if (*done) return CLOZE_OK;
    buf_clear(strings);
    buf_append(strings, rec.text, rec.text_len);
    buf_putc(strings, '\0');
    if (rec.text_b) buf_append(strings, rec.text_b, rec.text_b_len);
    buf_putc(strings, '\0');
    if (!buf_ok(strings))
        CLOZE_FAIL(err, MEMORY, "out of memory (reading %s)", stream->reader.lines.name);
    *out = (example){.text = strings->data,
                     .text_len = rec.text_len,
                     .label = -1,
                     .line = rec.line,
                     .column = rec.column};
    if (rec.text_b) {
        out->text_b = strings->data + rec.text_len + 1;
        out->text_b_len = rec.text_b_len;
    }
    return CLOZE_OK;
}

bool dataset_stream_ready(const dataset_stream *stream, int timeout_ms) {
    return line_reader_ready(&stream->reader.lines, timeout_ms);
}

void dataset_stream_close(dataset_stream *stream) {
    if (!stream) return;
    record_reader_close(&stream->reader);
    buf_deinit(&stream->strings);
    mem_free(stream);
}
