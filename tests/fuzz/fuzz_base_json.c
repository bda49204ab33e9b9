/* covers: src/base/json.c */
/* json_parse on any bytes; what it accepts must print and parse again to the same text. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cloze_error err = {0};
    cJSON *first, *second;
    if (json_parse((const char *)data, size, "fuzz", CLOZE_ERR_DATA, &first, &err) != CLOZE_OK) {
        if (first || err.code == CLOZE_OK || !err.message[0]) abort();
        return 0;
    }
    char *text = json_print(first), *again = NULL;
    if (!text || utf8_valid_prefix(text, strlen(text)) != strlen(text)) abort();
    if (json_parse(text, strlen(text), "again", CLOZE_ERR_DATA, &second, &err) != CLOZE_OK) abort();
    again = json_print(second);
    if (!again || strcmp(text, again) != 0) abort();
    mem_free(text);
    mem_free(again);
    json_destroy(first);
    json_destroy(second);
    return 0;
}
