/* What the readers of single formats offer to record_reader.c, and it to them. */
#ifndef CLOZE_PROMPT_RECORD_FORMATS_H
#define CLOZE_PROMPT_RECORD_FORMATS_H

#include "prompt/record_columns.h"
#include "prompt/record_reader.h"

/* Remembers which of names[] are read: indices for rows, copied names for objects. */
cloze_status record_keep_choice(record_reader *r, const char *const names[], column_choice choice,
                                cloze_error *err);

/* CSV and tables: the header line chooses the columns; then a record from its first line. */
cloze_status record_read_header(record_reader *r, cloze_error *err);
cloze_status record_next_row(record_reader *r, const char *line, size_t n, record *out,
                             cloze_error *err);

/* JSON lines: a record from its line. JSON lists: the next object, *done behind the last one. */
cloze_status record_next_object(record_reader *r, const char *line, size_t n, record *out,
                                cloze_error *err);
cloze_status record_next_element(record_reader *r, record *out, bool *done, cloze_error *err);

#endif
