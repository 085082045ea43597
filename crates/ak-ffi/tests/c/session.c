/* One session through libak: what a C program does, and what it gets back. Prints every reply on a line. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "libak.h"

static int32_t say(const AkSession *session, uint16_t op, const char *args) {
  char *reply = NULL;
  int32_t code = ak_call(session, op, args, &reply);
  assert(reply != NULL);
  printf("%s\n", reply);
  ak_free(reply);
  return code;
}

int main(int argc, char **argv) {
  AkSession *owner = NULL;
  char *reply = NULL;

  /* Options that are no options give a code and a reason, and no session. */
  assert(ak_init("{\"nonsense\":\"\"}", &owner, &reply) == AK_ERR_INVALID_ARGUMENT);
  assert(owner == NULL && reply != NULL && strstr(reply, "nonsense") != NULL);
  ak_free(reply);

  assert(ak_init(argc > 1 ? argv[1] : NULL, &owner, &reply) == 0);
  assert(owner != NULL && reply == NULL);

  assert(say(owner, AK_OP_POLICY_LOAD,
             "{\"text\":\"[[rule]]\\nid = \\\"no-concat\\\"\\neffect = \\\"forbid\\\"\\noperation = \\\"execute\\\"\\n"
             "target = \\\"concat\\\"\\n\"}") == 0);
  assert(say(owner, AK_OP_ALLOC, "{\"type\":\"counter\",\"value\":{\"value\":0,\"name\":\"counter\"}}") == 0);
  assert(say(owner, AK_OP_WRITE,
             "{\"handle\":\"0x100000000\",\"patch\":[{\"op\":\"replace\",\"path\":\"/value\",\"value\":42}]}") == 0);
  assert(say(owner, AK_OP_READ, "{\"handle\":\"0x100000000\"}") == 0);
  assert(say(owner, AK_OP_CALL, "{\"tool\":\"add\",\"args\":{\"a\":5,\"b\":3}}") == 0);
  assert(say(owner, AK_OP_CALL, "{\"tool\":\"concat\",\"args\":{\"str1\":\"a\",\"str2\":\"b\"}}") == AK_ERR_POLICY_DENY);
  assert(say(owner, AK_OP_READ, "{\"handle\":\"0xdead\"}") == AK_ERR_NOT_FOUND);
  assert(say(owner, AK_OP_READ, "no json") == AK_ERR_JSON_INVALID);
  assert(say(owner, AK_OP_AUDIT_VERIFY, NULL) == 0);

  /* An agent session is an agent session here too. */
  AkSession *agent = NULL;
  assert(ak_agent(owner, "worker", &agent, &reply) == 0);
  assert(say(agent, AK_OP_POLICY_LOAD, "{\"text\":\"\"}") == AK_ERR_POLICY_DENY);
  ak_shutdown(agent);

  assert(strcmp(ak_strerror(AK_ERR_POLICY_DENY), "POLICY_DENY") == 0);
  assert(strcmp(ak_strerror(0), "OK") == 0);
  ak_shutdown(owner);
  ak_shutdown(NULL);
  ak_free(NULL);
  return 0;
}
