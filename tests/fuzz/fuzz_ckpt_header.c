/* covers: src/ckpt/safetensors.c */
/* The input is a safetensors header; its length and 64 bytes of data are put around it. */
#include "ckpt_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t *bytes = calloc(1, 8 + n + 64);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)n >> (8 * i));
    if (n > 0) memcpy(bytes + 8, data, n);
    fuzz_open(bytes, 8 + n + 64);
    free(bytes);
    return 0;
}
