// `list {directory}` gives `{entries: [{name, bytes}…]}`: an ordinary C program, compiled for WASI. Directories have 0 bytes.

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

// The schema admits only `{"directory":"…"}` without characters that JSON escapes.
static char *directory_of(char *input) {
    char *from = strstr(input, ":\"");
    char *to = from ? strchr(from + 2, '"') : NULL;
    if (!to) {
        fputs("a directory is wanted\n", stderr);
        exit(1);
    }
    *to = 0;
    return from + 2;
}

static void print_string(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char c = *text;
        if (c == '"' || c == '\\') putchar('\\');
        if (c < 0x20) printf("\\u%04x", c);
        else putchar(c);
    }
    putchar('"');
}

int main(void) {
    static char input[8192];
    input[fread(input, 1, sizeof input - 1, stdin)] = 0;
    char *name = directory_of(input);
    DIR *directory = opendir(name);
    if (!directory) fail(name);
    fputs("{\"entries\":[", stdout);
    const char *comma = "";
    for (struct dirent *entry; (entry = readdir(directory)); comma = ",") {
        char path[8192];
        struct stat about;
        snprintf(path, sizeof path, "%s/%s", name, entry->d_name);
        if (stat(path, &about) != 0) fail(path);
        printf("%s{\"name\":", comma);
        print_string(entry->d_name);
        printf(",\"bytes\":%lld}", (long long)about.st_size);
    }
    fputs("]}", stdout);
    return 0;
}
