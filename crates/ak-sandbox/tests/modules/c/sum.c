// Adds up numbers: {"numbers": [1, 2]} on stdin gives {"args": [...], "sum": 3} on stdout. What stands in an argument needs no
// escape here.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[65536];
static long numbers[8192];

int main(int count, char **arguments) {
    size_t length = fread(text, 1, sizeof text - 1, stdin);
    text[length] = 0;
    char *at = strchr(text, '[');
    if (!at) {
        fprintf(stderr, "no numbers\n");
        return 1;
    }
    size_t found = 0;
    for (at++; *at && *at != ']' && found < 8192; at++) {
        numbers[found++] = strtol(at, &at, 10);
        if (*at != ',') break;
    }
    long sum = 0;
    for (size_t index = 0; index < found; index++) sum += numbers[index];
    printf("{\"args\":[");
    for (int index = 1; index < count; index++) printf("%s\"%s\"", index > 1 ? "," : "", arguments[index]);
    printf("],\"sum\":%ld}", sum);
    return 0;
}
