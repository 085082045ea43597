/* libak: the C interface of the Authority Kernel. Generated; do not edit. */

#ifndef LIBAK_H
#define LIBAK_H

#include <stdint.h>
#define AK_OP_READ 1024
#define AK_OP_ALLOC 1025
#define AK_OP_WRITE 1026
#define AK_OP_DELETE 1027
#define AK_OP_QUERY 1028
#define AK_OP_BATCH 1029
#define AK_OP_COMMIT 1030
#define AK_OP_CALL 1031
#define AK_OP_INFERENCE 1037
#define AK_OP_LAST_ERROR 1040
#define AK_OP_AUTHORIZE 1048
#define AK_OP_STAT 1049
#define AK_OP_FS_READ 1050
#define AK_OP_FS_WRITE 1051
#define AK_OP_FS_LIST 1052
#define AK_OP_FS_STAT 1053
#define AK_OP_FS_DELETE 1054
#define AK_OP_FS_MKDIR 1055
#define AK_OP_FS_APPEND 1056
#define AK_OP_FS_RENAME 1057
#define AK_OP_FS_GLOB 1058
#define AK_OP_HTTP 1060
#define AK_OP_POLICY_LOAD 1070
#define AK_OP_BUDGET_SET 1080
#define AK_OP_BUDGET_STATUS 1081
#define AK_OP_CAP_GRANT 1090
#define AK_OP_CAP_ATTENUATE 1091
#define AK_OP_CAP_REVOKE 1092
#define AK_OP_CAP_TOKEN 1093
#define AK_OP_AUDIT_LOG 1100
#define AK_OP_AUDIT_QUERY 1101
#define AK_OP_AUDIT_VERIFY 1102
#define AK_OP_AUDIT_PROOF 1103
#define AK_OP_AUDIT_ERASE 1104
#define AK_OP_TYPE_REGISTER 1110
#define AK_OP_TYPE_UNREGISTER 1111
#define AK_OP_TOOL_REGISTER 1120
#define AK_OP_TOOL_LIST 1121
#define AK_OP_SESSION_OPEN 1130
#define AK_OP_SESSION_CLOSE 1131

#define AK_ERR_FRAME_TOO_LARGE (-4001)
#define AK_ERR_SCHEMA_INVALID (-4002)
#define AK_ERR_SCHEMA_UNKNOWN (-4003)
#define AK_ERR_JSON_INVALID (-4004)
#define AK_ERR_FRAME_INVALID (-4005)
#define AK_ERR_INVALID_ARGUMENT (-4006)
#define AK_ERR_VERSION (-4007)
#define AK_ERR_CAP_MISSING (-4100)
#define AK_ERR_CAP_INVALID (-4101)
#define AK_ERR_CAP_EXPIRED (-4102)
#define AK_ERR_CAP_SCOPE (-4103)
#define AK_ERR_CAP_REVOKED (-4104)
#define AK_ERR_CAP_RATE (-4105)
#define AK_ERR_CAP_RUN_MISMATCH (-4106)
#define AK_ERR_REPLAY (-4200)
#define AK_ERR_POLICY_DENY (-4201)
#define AK_ERR_APPROVAL_REQUIRED (-4202)
#define AK_ERR_TAINT (-4203)
#define AK_ERR_DLP_BLOCK (-4204)
#define AK_ERR_POLICY_INVALID (-4205)
#define AK_ERR_NO_POLICY (-4206)
#define AK_ERR_BUDGET_EXCEEDED (-4300)
#define AK_ERR_RATE_LIMIT (-4301)
#define AK_ERR_DEADLINE (-4302)
#define AK_ERR_QUOTA (-4303)
#define AK_ERR_LIMIT (-4304)
#define AK_ERR_CONFLICT (-4400)
#define AK_ERR_TOOL_FAIL (-4401)
#define AK_ERR_TOOL_TIMEOUT (-4402)
#define AK_ERR_NOT_FOUND (-4403)
#define AK_ERR_LOG_FULL (-4404)
#define AK_ERR_LOG_CORRUPT (-4405)
#define AK_ERR_NOT_CONFIGURED (-4406)
#define AK_ERR_PATCH_TEST_FAILED (-4407)
#define AK_ERR_IO (-4408)
#define AK_ERR_UNKNOWN_OUTCOME (-4409)
#define AK_ERR_BUFFER_OVERFLOW (-4410)


// A session of a C program with a kernel; requests and outcomes are JSON.
typedef struct AkSession AkSession;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Opens a kernel, embedded or behind a socket, and gives the owner's session, or over a socket the session of
// the token.
//
// `options` is a JSON object with any of the strings `url`, `state_dir`, `policy`, `token_file`, `ca`, `host_config`;
// NULL opens an embedded kernel in memory. Environment variables are not read.
//
// Returns 0 and sets `*reply` to NULL, or returns the code of the error, sets `*session` to NULL and `*reply` to the
// outcome in JSON, which `ak_free` frees.
//
// # Safety
// `options` is NULL or a NUL-terminated string; `session` and `reply` point to writable pointers, `reply` may be NULL.
int32_t ak_init(const char *options,
                struct AkSession **session,
                char **reply);

// Opens a session of the agent with this name, which is created if there is none. `owner` must be the owner's session.
//
// Returns a code and sets `*session` and `*reply` as `ak_init` does.
//
// # Safety
// `owner` comes from `ak_init` and is not shut down; `name` is a NUL-terminated string; `session` and `reply` as for `ak_init`.
int32_t ak_agent(const struct AkSession *owner,
                 const char *name,
                 struct AkSession **session,
                 char **reply);

// Makes a request and waits for its outcome.
//
// `op` is one of `AK_OP_…`; `args` is the JSON object that the operation takes, or NULL for `{}`. `*reply`
// becomes `{"ok":true,"result":…}` or `{"ok":false,"error":…}`, which `ak_free` frees. Several threads may
// call at the same time.
//
// Returns 0, or the code of the error.
//
// # Safety
// `session` comes from `ak_init` or `ak_agent` and is not shut down; `args` is NULL or a NUL-terminated string; `reply` is NULL or
// points to a writable pointer.
int32_t ak_call(const struct AkSession *session,
                uint16_t op,
                const char *args,
                char **reply);

// Frees a string that this library wrote to a `reply`. NULL has no effect.
//
// # Safety
// `text` is NULL, or this library wrote it to a `reply` and it was not freed before.
void ak_free(char *text);

// Returns the name of a code, such as `POLICY_DENY`; `OK` for 0 and `UNKNOWN` for a number that is no code. It must
// not be freed.
const char *ak_strerror(int32_t code);

// Ends a session and frees it. Ending the owner's session of an embedded kernel also ends the kernel. NULL has
// no effect.
//
// # Safety
// `session` is NULL or comes from `ak_init` or `ak_agent`, was not shut down before, and no call on it is running.
void ak_shutdown(struct AkSession *session);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIBAK_H */
