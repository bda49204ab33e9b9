/* Options as text: --help and training_args.json. */
#include <stdlib.h>
#include <string.h>

#include "train/options_internal.h"

/* ---- help ---- */

static void write_default(const option_row *row, buf *out) {
    if (row->kind == KIND_STRING || row->kind == KIND_CHOICE) {
        if (row->text) buf_printf(out, " [%s]", row->text);
    } else if (row->kind != KIND_BOOL || row->number != 0) {
        buf_puts(out, " [");
        if (row->kind == KIND_BOOL)
            buf_puts(out, "true");
        else
            buf_printf(out, "%.10g", row->number);
        buf_puts(out, "]");
    }
}

/* Wraps text to 80 columns behind an indent of 6. */
static void write_wrapped(const char *text, buf *out) {
    size_t column = 6;
    buf_puts(out, "      ");
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column > 6 && column + 1 + word > 80) {
            buf_puts(out, "\n      ");
            column = 6;
        } else if (column > 6) {
            buf_putc(out, ' ');
            column++;
        }
        buf_append(out, text, word);
        column += word;
        text += word;
        while (*text == ' ') text++;
    }
    buf_putc(out, '\n');
}

/* A choice whose values are too long for the flag's line: they stand in the help. */
static bool is_long(const option_row *row) {
    return row->kind == KIND_CHOICE && strlen(row->name) + strlen(row->metavar) > 56;
}

static void write_row(const option_row *row, buf *out) {
    buf text;
    buf_init(&text, 4096);
    buf_printf(out, "  --%s", row->name);
    if (row->metavar) buf_printf(out, " %s", is_long(row) ? "NAME" : row->metavar);
    write_default(row, out);
    buf_putc(out, '\n');
    buf_puts(&text, row->help);
    for (const char *at = row->metavar; is_long(row) && *at;) {
        size_t n = strcspn(at, "|");
        buf_puts(&text, at == row->metavar ? ": " : ", ");
        buf_append(&text, at, n);
        at += n + (at[n] == '|');
    }
    if (text.len) write_wrapped(text.data, out);
    out->failed = out->failed || !buf_ok(&text);
    buf_deinit(&text);
}

void options_help(char command, buf *out) {
    const char *title = NULL;
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_row *row = &OPTION_ROWS[i];
        if (row->kind == KIND_GROUP) title = row->name;
        if (!option_is_listed(row, command)) continue;
        if (title) buf_printf(out, "\n%s\n", title);
        title = NULL;
        write_row(row, out);
    }
    if (command == 'I')
        buf_puts(out, "\nand, with --data_dir or --train_file, every flag of `cloze train`\n");
}

/* ---- JSON ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(OPTION_ROWS[*(const int *)a].name, OPTION_ROWS[*(const int *)b].name);
}

/* What the model decides when it is not given, and the file that a value came from. */
static bool is_left_out(const options *o, int index) {
    return index == OPTION_config ||
           ((index == OPTION_max_seq_length || index == OPTION_do_lower_case) && !o->is_set[index]);
}

void option_write_value(const options *o, const option_row *row, buf *out) {
    const char *text;
    switch (row->kind) {
    case KIND_GROUP: break;
    case KIND_STRING:
    case KIND_CHOICE:
        text = *(const char **)option_field(o, row);
        if (text)
            buf_json_string(out, text, strlen(text));
        else
            buf_puts(out, "null");
        break;
    case KIND_INT: buf_printf(out, "%lld", (long long)*(int64_t *)option_field(o, row)); break;
    case KIND_REAL: buf_json_double(out, *(double *)option_field(o, row)); break;
    case KIND_BOOL: buf_puts(out, *(bool *)option_field(o, row) ? "true" : "false"); break;
    }
}

void options_write_json(const options *o, buf *out) {
    int order[OPTION_COUNT], n = 0;
    for (int i = 0; i < OPTION_COUNT; i++)
        if (option_is_listed(&OPTION_ROWS[i], o->command)) order[n++] = i;
    qsort(order, (size_t)n, sizeof *order, by_name);
    buf_puts(out, "{");
    for (int i = 0; i < n; i++) {
        buf_printf(out, "%s\n  \"%s\": ", i ? "," : "", OPTION_ROWS[order[i]].name);
        if (is_left_out(o, order[i]))
            buf_puts(out, "null");
        else
            option_write_value(o, &OPTION_ROWS[order[i]], out);
    }
    buf_puts(out, "\n}\n");
}
