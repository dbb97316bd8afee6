/* The C unwinder restarted from registers that lie in memory. See walk.c. */

	.text

/* gowalk_resume(struct registers *, fn, arg): calls __real__Unwind_Backtrace(fn, arg)
 * in a frame whose unwinding information says that its caller's registers are in the
 * struct. x19 points to the struct's member saved[6]. That is the middle of the struct,
 * so that all distances fit the one-byte form. */
	.globl	gowalk_resume
	.hidden	gowalk_resume
	.type	gowalk_resume, %function
gowalk_resume:
	.cfi_startproc
	stp	x29, x30, [sp, #-32]!
	.cfi_def_cfa_offset 32
	.cfi_offset x29, -32
	.cfi_offset x30, -24
	str	x19, [sp, #16]
	.cfi_offset x19, -16
	add	x19, x0, #48
	mov	x0, x1
	mov	x1, x2
	.cfi_remember_state
	/* DW_CFA_def_cfa_expression: DW_OP_breg19 48, DW_OP_deref: member sp */
	.cfi_escape 0x0f, 3, 0x83, 48, 0x06
	/* DW_CFA_expression, register, length, DW_OP_breg19 offset (7 bits, signed) */
	.cfi_escape 0x10, 19, 2, 0x83, -48 & 0x7f
	.cfi_escape 0x10, 20, 2, 0x83, -40 & 0x7f
	.cfi_escape 0x10, 21, 2, 0x83, -32 & 0x7f
	.cfi_escape 0x10, 22, 2, 0x83, -24 & 0x7f
	.cfi_escape 0x10, 23, 2, 0x83, -16 & 0x7f
	.cfi_escape 0x10, 24, 2, 0x83, -8 & 0x7f
	.cfi_escape 0x10, 25, 2, 0x83, 0
	.cfi_escape 0x10, 26, 2, 0x83, 8
	.cfi_escape 0x10, 27, 2, 0x83, 16
	.cfi_escape 0x10, 28, 2, 0x83, 24
	.cfi_escape 0x10, 29, 2, 0x83, 32
	.cfi_escape 0x10, 30, 2, 0x83, 40	/* return address: member ip */
	bl	__real__Unwind_Backtrace
	.cfi_restore_state
	ldr	x19, [sp, #16]
	.cfi_restore x19
	ldp	x29, x30, [sp], #32
	.cfi_restore x29
	.cfi_restore x30
	.cfi_def_cfa_offset 0
	ret
	.cfi_endproc
	.size	gowalk_resume, .-gowalk_resume

	.section .note.GNU-stack, "", %progbits
