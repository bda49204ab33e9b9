/* Event files for TensorBoard, written by hand: two protobuf messages of a few fields. */
#include "train/events.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

/* CRC-32C (Castagnoli), reflected polynomial 0x82f63b78. */
static uint32_t crc32c(const uint8_t *data, size_t n) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int k = 0; k < 8; k++) crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static uint32_t masked_crc(const void *data, size_t n) {
    uint32_t crc = crc32c(data, n);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static void write_record(events_file *e, const buf *b) {
    uint64_t length = b->len;
    uint32_t length_crc = masked_crc(&length, sizeof length),
             data_crc = masked_crc(b->data, b->len);
    fwrite(&length, sizeof length, 1, e->stream);
    fwrite(&length_crc, sizeof length_crc, 1, e->stream);
    fwrite(b->data, 1, b->len, e->stream);
    fwrite(&data_crc, sizeof data_crc, 1, e->stream);
    fflush(e->stream);
}

static void put_varint(buf *b, uint64_t value) {
    while (value >= 0x80) {
        buf_putc(b, (char)(value | 0x80));
        value >>= 7;
    }
    buf_putc(b, (char)value);
}

static void put_bytes(buf *b, int field, const void *data, size_t n) {
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, n);
    buf_append(b, data, n);
}

/* Event.wall_time = 1 (double), Event.step = 2 (int64) */
static void begin_event(buf *b, int64_t step) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double wall = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    buf_init(b, 4096);
    put_varint(b, 1 << 3 | 1);
    buf_append(b, &wall, sizeof wall);
    put_varint(b, 2 << 3 | 0);
    put_varint(b, (uint64_t)step);
}

cloze_status events_open(events_file *e, const char *dir, cloze_error *err) {
    char name[128], host[48] = "localhost";
    CLOZE_TRY(dir_create(dir, err));
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "events.out.tfevents.%lld.%s.%d", (long long)time(NULL), host,
             (int)getpid());
    char *path = path_join(dir, name);
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    e->stream = fopen(path, "wb");
    if (!e->stream) error_set(err, CLOZE_ERR_IO, "%s: cannot be written", path);
    mem_free(path);
    if (!e->stream) return CLOZE_ERR_IO;
    buf b;
    begin_event(&b, 0);
    put_bytes(&b, 3, "brain.Event:2", 13); /* Event.file_version = 3 */
    if (buf_ok(&b)) write_record(e, &b);
    buf_deinit(&b);
    return CLOZE_OK;
}

cloze_status events_open_run(events_file *e, const options *o, cloze_error *err) {
    if (strcmp(o->report_to, "none") == 0) return CLOZE_OK;
    if (o->logging_dir) return events_open(e, o->logging_dir, err);
    char *runs = path_join(o->output_dir, "runs");
    cloze_status status =
        runs ? events_open(e, runs, err) : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    mem_free(runs);
    return status;
}

void events_scalar(events_file *e, const char *tag, int64_t step, double value) {
    if (!e->stream) return;
    buf event, summary, item;
    float simple = (float)value;
    buf_init(&item, 4096);
    put_bytes(&item, 1, tag, strlen(tag)); /* Value.tag = 1 */
    put_varint(&item, 2 << 3 | 5);         /* Value.simple_value = 2 (float) */
    buf_append(&item, &simple, sizeof simple);
    buf_init(&summary, 4096);
    if (buf_ok(&item)) put_bytes(&summary, 1, item.data, item.len); /* Summary.value = 1 */
    begin_event(&event, step);
    if (buf_ok(&summary)) put_bytes(&event, 5, summary.data, summary.len); /* Event.summary = 5 */
    if (buf_ok(&event)) write_record(e, &event);
    buf_deinit(&item);
    buf_deinit(&summary);
    buf_deinit(&event);
}

void events_close(events_file *e) {
    if (e->stream) fclose(e->stream);
    e->stream = NULL;
}
