/* The C unwinder restarted from registers that lie in memory. See stitch.c. */

	.text

/* gojemalloc_resume(struct registers *, fn, arg): calls __real__Unwind_Backtrace(fn, arg)
 * in a frame whose unwinding information says that its caller's registers are in the
 * struct to which rbx points. */
	.globl	gojemalloc_resume
	.hidden	gojemalloc_resume
	.type	gojemalloc_resume, @function
gojemalloc_resume:
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
	.size	gojemalloc_resume, .-gojemalloc_resume

/* gojemalloc_marked_call(fn, arg, struct registers *marked): crosscall2(fn, arg, 0, 0)
 * with marked->saved in rbx, rbp, r12, r13, r14, r15. */
	.globl	gojemalloc_marked_call
	.hidden	gojemalloc_marked_call
	.type	gojemalloc_marked_call, @function
gojemalloc_marked_call:
	.cfi_startproc
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r15, 0
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	movq	%rsp, 56(%rdx)
	leaq	1f(%rip), %rax
	movq	%rax, 48(%rdx)
	movq	0(%rdx), %rbx
	movq	8(%rdx), %rbp
	movq	16(%rdx), %r12
	movq	24(%rdx), %r13
	movq	32(%rdx), %r14
	movq	40(%rdx), %r15
	xorl	%edx, %edx
	xorl	%ecx, %ecx
	call	crosscall2@PLT
1:
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore r12
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbp
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbx
	ret
	.cfi_endproc
	.size	gojemalloc_marked_call, .-gojemalloc_marked_call

	.section .note.GNU-stack, "", @progbits
