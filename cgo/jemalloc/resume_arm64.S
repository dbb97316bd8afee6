/* The C unwinder restarted from registers that lie in memory. See stitch.c. */

	.text

/* gojemalloc_resume(struct registers *, fn, arg): calls __real__Unwind_Backtrace(fn, arg)
 * in a frame whose unwinding information says that its caller's registers are in the
 * struct. x19 points to the struct's member saved[6]. That is the middle of the struct,
 * so that all distances fit the one-byte form. */
	.globl	gojemalloc_resume
	.hidden	gojemalloc_resume
	.type	gojemalloc_resume, %function
gojemalloc_resume:
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
	.size	gojemalloc_resume, .-gojemalloc_resume

/* gojemalloc_marked_call(fn, arg, struct registers *marked): crosscall2(fn, arg, 0, 0)
 * with marked->saved in x19 to x29. */
	.globl	gojemalloc_marked_call
	.hidden	gojemalloc_marked_call
	.type	gojemalloc_marked_call, %function
gojemalloc_marked_call:
	.cfi_startproc
	stp	x29, x30, [sp, #-96]!
	.cfi_def_cfa_offset 96
	.cfi_offset x29, -96
	.cfi_offset x30, -88
	stp	x19, x20, [sp, #16]
	.cfi_offset x19, -80
	.cfi_offset x20, -72
	stp	x21, x22, [sp, #32]
	.cfi_offset x21, -64
	.cfi_offset x22, -56
	stp	x23, x24, [sp, #48]
	.cfi_offset x23, -48
	.cfi_offset x24, -40
	stp	x25, x26, [sp, #64]
	.cfi_offset x25, -32
	.cfi_offset x26, -24
	stp	x27, x28, [sp, #80]
	.cfi_offset x27, -16
	.cfi_offset x28, -8
	mov	x9, sp
	str	x9, [x2, #96]
	adr	x9, 1f
	str	x9, [x2, #88]
	ldp	x19, x20, [x2]
	ldp	x21, x22, [x2, #16]
	ldp	x23, x24, [x2, #32]
	ldp	x25, x26, [x2, #48]
	ldp	x27, x28, [x2, #64]
	ldr	x29, [x2, #80]
	mov	x2, #0
	mov	x3, #0
	bl	crosscall2
1:
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp], #96
	.cfi_def_cfa_offset 0
	ret
	.cfi_endproc
	.size	gojemalloc_marked_call, .-gojemalloc_marked_call

	.section .note.GNU-stack, "", %progbits
