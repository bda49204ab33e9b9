/*
 * TensorBoard event files, read back by a reader of their own: TFRecord frames with table-driven
 * CRC-32C and a protobuf walk, written from the formats' descriptions.
 */
#include "train/events.h"
#include "unit/unit_support.h"

/* ---- the reader ---- */

static uint32_t crc_table[256];

static int reader_setup(void **state) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0x82f63b78u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
    return 0;
}

static uint32_t crc32c(const uint8_t *data, size_t n) {
    uint32_t c = ~0u;
    while (n--) c = crc_table[(c ^ *data++) & 255] ^ (c >> 8);
    return ~c;
}

static uint32_t read_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t unmask(uint32_t masked) {
    uint32_t c = masked - 0xa282ead8u;
    return c >> 17 | c << 15;
}

typedef struct field {
    uint64_t number, varint;
    int wire;
    const uint8_t *data; /* of wire types 1, 2 and 5 */
    size_t n;
} field;

static uint64_t read_varint(const uint8_t **p, const uint8_t *end) {
    uint64_t value = 0;
    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t byte = *(*p)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    fail_msg("a varint does not end");
    return 0;
}

/* The next field; false at the end. */
static bool next_field(const uint8_t **p, const uint8_t *end, field *f) {
    if (*p == end) return false;
    uint64_t tag = read_varint(p, end);
    *f = (field){.number = tag >> 3, .wire = (int)(tag & 7)};
    if (f->wire == 0) {
        f->varint = read_varint(p, end);
        return true;
    }
    f->n = f->wire == 1 ? 8 : f->wire == 5 ? 4 : read_varint(p, end);
    assert_true(f->wire == 1 || f->wire == 2 || f->wire == 5);
    assert_true(f->n <= (size_t)(end - *p));
    f->data = *p;
    *p += f->n;
    return true;
}

typedef struct event {
    double wall_time;
    int64_t step;
    char version[32], tag[64];
    float value;
} event;

static void read_summary(const field *summary, event *out) {
    const uint8_t *p = summary->data;
    field value, f;
    while (next_field(&p, summary->data + summary->n, &value)) {
        assert_int_equal(value.number, 1);
        const uint8_t *q = value.data;
        while (next_field(&q, value.data + value.n, &f)) {
            if (f.number == 1) snprintf(out->tag, sizeof out->tag, "%.*s", (int)f.n, f.data);
            if (f.number == 2) {
                assert_int_equal(f.wire, 5);
                memcpy(&out->value, f.data, sizeof out->value);
            }
        }
    }
}

static event read_event(const uint8_t *data, size_t n) {
    event e = {0};
    const uint8_t *p = data;
    field f;
    while (next_field(&p, data + n, &f)) {
        if (f.number == 1) memcpy(&e.wall_time, f.data, sizeof e.wall_time);
        if (f.number == 2) e.step = (int64_t)f.varint;
        if (f.number == 3) snprintf(e.version, sizeof e.version, "%.*s", (int)f.n, f.data);
        if (f.number == 5) read_summary(&f, &e);
    }
    return e;
}

/* All events of a file, after checking both sums of every frame. */
static size_t read_events(const char *path, event *out, size_t max) {
    size_t n, count = 0, at_byte = 0;
    char *text = get_file(path, &n);
    const uint8_t *data = (const uint8_t *)text;
    while (at_byte < n) {
        assert_true(n - at_byte >= 16 && count < max);
        uint64_t length = read_u32(data + at_byte) | (uint64_t)read_u32(data + at_byte + 4) << 32;
        assert_int_equal(unmask(read_u32(data + at_byte + 8)), crc32c(data + at_byte, 8));
        assert_true(length <= n - at_byte - 16);
        const uint8_t *payload = data + at_byte + 12;
        assert_int_equal(unmask(read_u32(payload + length)), crc32c(payload, length));
        out[count++] = read_event(payload, length);
        at_byte += 16 + length;
    }
    mem_free(text);
    return count;
}

/* The one event file in test_dir/runs. */
static const char *event_file(void) {
    char **names, path[256];
    size_t n;
    MUST(dir_list(at("runs"), &names, &n, err));
    assert_int_equal(n, 1);
    assert_int_equal(strncmp(names[0], "events.out.tfevents.", 20), 0);
    snprintf(path, sizeof path, "runs/%.200s", names[0]);
    dir_list_free(names, n);
    return at(path);
}

/* ---- tests ---- */

static void the_readers_sum_is_crc32c(void **unused) {
    assert_int_equal(crc32c((const uint8_t *)"123456789", 9), 0xe3069283u);
}

static void frames_and_values(void **unused) {
    static const struct {
        const char *tag;
        int64_t step;
        double value;
    } scalars[] = {{"train/loss", 1, 0.5},     {"train/loss", 127, -3.25},
                   {"eval/accuracy", 128, 1},  {"train/learning_rate", 1000000000, 3e-5},
                   {"a", 9007199254740991, 0}, {"eval/loss", 3, NAN}};
    events_file e = {0};
    event got[8];
    MUST(events_open(&e, at("runs"), err));
    for (size_t i = 0; i < COUNT(scalars); i++)
        events_scalar(&e, scalars[i].tag, scalars[i].step, scalars[i].value);
    /* each is on the disk at once: TensorBoard reads along */
    assert_int_equal(read_events(event_file(), got, 8), 1 + COUNT(scalars));
    events_close(&e);
    assert_null(e.stream);
    assert_string_equal(got[0].version, "brain.Event:2");
    for (size_t i = 0; i < COUNT(scalars); i++) {
        assert_string_equal(got[i + 1].tag, scalars[i].tag);
        assert_int_equal(got[i + 1].step, scalars[i].step);
        assert_true(got[i + 1].value == (float)scalars[i].value || isnan(scalars[i].value));
        assert_true(got[i + 1].wall_time > 1.6e9 && got[i + 1].wall_time >= got[i].wall_time);
    }
}

static void closed_files_take_events_silently(void **unused) {
    events_file e = {0};
    events_scalar(&e, "tag", 1, 1);
    events_close(&e);
    put_file(at("file"), "x");
    MUST_FAIL(CLOZE_ERR_IO, "file", events_open(&e, at("file"), err));
    assert_null(e.stream);
}

static void reports_go_where_they_are_asked_for(void **unused) {
    options o;
    events_file e = {0};
    MUST(options_parse(&o, 'T', 0, NULL, err));
    o.output_dir = test_dir;
    MUST(events_open_run(&e, &o, err));
    events_close(&e);
    assert_non_null(strstr(event_file(), "/runs/events"));
    o.report_to = "none";
    o.logging_dir = at("none");
    MUST(events_open_run(&e, &o, err));
    assert_null(e.stream);
    assert_false(file_exists(at("none")));
    o.report_to = "all";
    o.logging_dir = at("elsewhere/deep");
    MUST(events_open_run(&e, &o, err));
    assert_non_null(e.stream);
    events_close(&e);
    assert_true(file_is_dir(at("elsewhere/deep")));
    options_deinit(&o);
}

static cloze_status open_and_write(void *ctx, cloze_error *err) {
    events_file e = {0};
    cloze_status status = events_open(&e, at("runs"), err);
    events_scalar(&e, "tag", 1, 1);
    events_close(&e);
    return status;
}

static void want_of_memory_is_survived(void **unused) {
    assert_true(fail_each_allocation(open_and_write, NULL, 1) >= 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_readers_sum_is_crc32c),
        cmocka_unit_test_setup_teardown(frames_and_values, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(closed_files_take_events_silently, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(reports_go_where_they_are_asked_for, dir_setup,
                                        dir_teardown),
        cmocka_unit_test_setup_teardown(want_of_memory_is_survived, dir_setup, dir_teardown),
    };
    return cmocka_run_group_tests(tests, reader_setup, NULL);
}
