/* How the agent gets into the programs that this process starts. */
#ifndef AGENT_CARRY_H
#define AGENT_CARRY_H

/* Finds the functions that execute a program. To be called once, before any other thread
 * runs. */
void agent_carry_find(void);

/* To be called in a process that shall hand the agent on. path is how the dynamic linker
 * was told of the library. */
void agent_carry_start(const char *path);

#endif
