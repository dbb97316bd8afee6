/* The C unwinder restarted from registers that lie in memory. See walk.c. */

	.text

/* gowalk_resume(struct registers *, fn, arg): calls __real__Unwind_Backtrace(fn, arg)
 * in a frame whose unwinding information says that its caller's registers are in the
 * struct to which rbx points. */
	.globl	gowalk_resume
	.hidden	gowalk_resume
	.type	gowalk_resume, @function
gowalk_resume:
	.cfi_startproc
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	movq	%rdi, %rbx
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	.cfi_remember_state
	/* DW_CFA_def_cfa_expression: DW_OP_breg3 (rbx) 56, DW_OP_deref */
	.cfi_escape 0x0f, 3, 0x73, 56, 0x06
	/* DW_CFA_expression, register, length, DW_OP_breg3 offset */
	.cfi_escape 0x10, 3, 2, 0x73, 0		/* rbx */
	.cfi_escape 0x10, 6, 2, 0x73, 8		/* rbp */
	.cfi_escape 0x10, 12, 2, 0x73, 16	/* r12 */
	.cfi_escape 0x10, 13, 2, 0x73, 24	/* r13 */
	.cfi_escape 0x10, 14, 2, 0x73, 32	/* r14 */
	.cfi_escape 0x10, 15, 2, 0x73, 40	/* r15 */
	.cfi_escape 0x10, 16, 2, 0x73, 48	/* return address */
	call	__real__Unwind_Backtrace@PLT
	.cfi_restore_state
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbx
	ret
	.cfi_endproc
	.size	gowalk_resume, .-gowalk_resume

	.section .note.GNU-stack, "", @progbits
